"""Equality of two ONNX models: nodes, names, attributes and initializers as sorted protos.

What a file may write in several ways counts as one: the order of nodes, attributes and initializers, an empty string
and a missing one, `ai.onnx` and no domain, and the field and file that hold the bytes of a tensor. Everything else,
doc strings, metadata and names of sizes of inputs and outputs included, must be equal. Two things are added: the opset
import of a domain that a file uses without one, and types of values, which `lost_value_infos` compares.
"""
import numpy
import onnx
from onnx import AttributeProto, TensorProto, external_data_helper, numpy_helper

# Payload fields of a tensor; string_data is compared as it is.
PAYLOAD = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data", "data_location")
KINDS = {
    "f": AttributeProto.FLOAT, "i": AttributeProto.INT, "s": AttributeProto.STRING, "t": AttributeProto.TENSOR,
    "g": AttributeProto.GRAPH, "floats": AttributeProto.FLOATS, "ints": AttributeProto.INTS,
    "strings": AttributeProto.STRINGS, "tensors": AttributeProto.TENSORS, "graphs": AttributeProto.GRAPHS,
}


def load(path):
    """The model with all external data in it."""
    return onnx.load(str(path))


def payload(tensor):
    """Bytes of a tensor in the layout of raw_data."""
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    # Types of less than 8 bits lie packed in int32_data, a byte in each entry.
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1, TensorProto.INT2, TensorProto.UINT2):
        return bytes(value & 0xFF for value in tensor.int32_data)
    # Not by way of values: a NaN keeps its bits.
    fields = {
        TensorProto.FLOAT: ("float_data", "<f4"), TensorProto.COMPLEX64: ("float_data", "<f4"),
        TensorProto.DOUBLE: ("double_data", "<f8"), TensorProto.COMPLEX128: ("double_data", "<f8"),
        TensorProto.INT64: ("int64_data", "<i8"), TensorProto.UINT64: ("uint64_data", "<u8"),
        TensorProto.UINT32: ("uint64_data", "<u4"),
    }
    if tensor.data_type in fields:
        field, dtype = fields[tensor.data_type]
        return numpy.array(getattr(tensor, field)).astype(dtype).tobytes()
    return numpy_helper.to_array(tensor).tobytes()


def normalize_tensor(tensor):
    if tensor.data_type != TensorProto.STRING:
        data = payload(tensor)
        for field in PAYLOAD:
            tensor.ClearField(field)
        tensor.raw_data = data


def normalize_sparse(sparse):
    normalize_tensor(sparse.values)
    normalize_tensor(sparse.indices)


def normalize_attribute(attribute):
    if not attribute.type and not attribute.ref_attr_name:
        # Files of IR version 1 leave the kind out.
        attribute.type = next(kind for field, kind in KINDS.items() if (
            attribute.HasField(field) if field in ("f", "i", "s", "t", "g") else getattr(attribute, field)))
    if attribute.HasField("t"):
        normalize_tensor(attribute.t)
    for tensor in attribute.tensors:
        normalize_tensor(tensor)
    if attribute.HasField("sparse_tensor"):
        normalize_sparse(attribute.sparse_tensor)
    for sparse in attribute.sparse_tensors:
        normalize_sparse(sparse)
    if attribute.HasField("g"):
        normalize_graph(attribute.g)
    for graph in attribute.graphs:
        normalize_graph(graph)


def order(message):
    return message.SerializeToString(deterministic=True)


def sort(field, key=order):
    """Sorts a repeated field."""
    entries = sorted(field, key=key)
    copies = []
    for entry in entries:
        copy = type(entry)()
        copy.CopyFrom(entry)
        copies.append(copy)
    del field[:]
    field.extend(copies)


def normalize_nodes(nodes):
    for node in nodes:
        if node.domain == "ai.onnx":
            node.domain = ""
        for attribute in node.attribute:
            normalize_attribute(attribute)
        sort(node.attribute, lambda attribute: attribute.name)
        sort(node.metadata_props)
        drop_empty(node)
    sort(nodes)


def normalize_opsets(opsets):
    for opset in opsets:
        if opset.domain == "ai.onnx":
            opset.domain = ""
        drop_empty(opset)
    sort(opsets)
    for i in reversed(range(1, len(opsets))):
        if opsets[i] == opsets[i - 1]:
            del opsets[i]


def normalize_graph(graph):
    normalize_nodes(graph.node)
    for tensor in graph.initializer:
        normalize_tensor(tensor)
    for sparse in graph.sparse_initializer:
        normalize_sparse(sparse)
    sort(graph.initializer)
    sort(graph.sparse_initializer)
    sort(graph.quantization_annotation)
    del graph.value_info[:]
    # An input or output without a shape may get the one that is inferred.
    for info in [*graph.input, *graph.output]:
        info.ClearField("type")
    drop_empty(graph)


def drop_empty(message):
    """Clears strings that are set, but empty, in a message and those in it."""
    for field, value in message.ListFields():
        if field.message_type:
            for entry in value if field.is_repeated else [value]:
                drop_empty(entry)
        elif field.type in (field.TYPE_STRING, field.TYPE_BYTES) and not field.is_repeated and not value:
            # The empty payload of a tensor and the empty text of an attribute are values.
            if (message.DESCRIPTOR.name, field.name) not in (("TensorProto", "raw_data"), ("AttributeProto", "s"), ("StringStringEntryProto", "value")):
                message.ClearField(field.name)


def normalize(model):
    """The model in its one form; `model` itself is changed."""
    normalize_graph(model.graph)
    normalize_opsets(model.opset_import)
    for function in model.functions:
        normalize_nodes(function.node)
        normalize_opsets(function.opset_import)
        for attribute in function.attribute_proto:
            normalize_attribute(attribute)
        sort(function.attribute_proto)
        if function.domain == "ai.onnx":
            function.domain = ""
        del function.value_info[:]
    sort(model.functions)
    sort(model.metadata_props)
    drop_empty(model)
    return model


def text(message):
    shown = type(message)()
    shown.CopyFrom(message)
    return str(shown)[:400]


def compare_messages(path, ours, theirs, found):
    """Adds the paths of the fields in which two messages differ."""
    if ours == theirs:
        return
    for field in theirs.DESCRIPTOR.fields:
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        where = f"{path}.{field.name}"
        if not field.is_repeated:
            has = (ours.HasField(field.name), theirs.HasField(field.name))
            if field.message_type:
                if has == (True, True):
                    compare_messages(where, a, b, found)
                elif has[0] != has[1]:
                    found.append(f"{where}: {'added' if has[0] else 'lost'}")
            elif has[0] != has[1] or a != b and not (a != a and b != b):
                found.append(f"{where}: {str(b)[:80]!r} became {str(a)[:80]!r}")
        elif list(a) != list(b):
            if field.message_type and len(a) == len(b):
                for i, (x, y) in enumerate(zip(a, b)):
                    compare_messages(f"{where}[{i}]", x, y, found)
            elif field.message_type:
                keys = [order(x) for x in a], [order(y) for y in b]
                lost = [y for y, key in zip(b, keys[1]) if key not in keys[0]]
                added = [x for x, key in zip(a, keys[0]) if key not in keys[1]]
                found.append(f"{where}: {len(b)} became {len(a)}; lost: {[text(y) for y in lost[:2]]}, added: {[text(x) for x in added[:2]]}")
            else:
                found.append(f"{where}: {str(list(b))[:80]} became {str(list(a))[:80]}")


def add_missing_imports(original, back):
    """Domains of the default catalogue that nodes use without an import, as ONNX Runtime's own files do."""
    imported = {opset.domain for opset in original.opset_import}
    used = {node.domain for node in all_nodes(original.graph)}
    for opset in back.opset_import:
        if opset.domain not in imported and opset.domain in used:
            original.opset_import.add().CopyFrom(opset)
    sort(original.opset_import)


def all_nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from all_nodes(inner)


def size_names(kind):
    """Names of the sizes of the one tensor in a type."""
    while (value := kind.WhichOneof("value")) in ("sequence_type", "optional_type", "map_type"):
        kind = kind.map_type.value_type if value == "map_type" else getattr(kind, value).elem_type
    if value not in ("tensor_type", "sparse_tensor_type"):
        return []
    return [dim.dim_param for dim in getattr(kind, value).shape.dim]


def lost_size_names(back, original):
    for field in ("input", "output"):
        ours = {info.name: size_names(info.type) for info in getattr(back.graph, field)}
        for info in getattr(original.graph, field):
            theirs = size_names(info.type)
            if any(b and b != a for a, b in zip(ours.get(info.name, []), theirs)):
                yield info.name, ours[info.name], theirs


def differences(back, original):
    """What an export lost, added or changed, as text; both are ModelProto and are changed."""
    found = [f"{name}: sizes {theirs} became {ours}" for name, ours, theirs in lost_size_names(back, original)]
    # There is no IR for training, and a warning says that it is dropped.
    del original.training_info[:]
    ours, theirs = normalize(back), normalize(original)
    add_missing_imports(theirs, ours)
    if order(ours) != order(theirs):
        compare_messages("model", ours, theirs, found)
    return found


def is_at_least(ours, theirs):
    """True if type `ours` says all that `theirs` says, names of sizes aside."""
    kind = theirs.WhichOneof("value")
    if kind is None:
        return True
    if ours.WhichOneof("value") != kind:
        return False
    a, b = getattr(ours, kind), getattr(theirs, kind)
    if kind in ("sequence_type", "optional_type"):
        return is_at_least(a.elem_type, b.elem_type)
    if kind == "map_type":
        return a.key_type == b.key_type and is_at_least(a.value_type, b.value_type)
    if kind == "opaque_type":
        return a == b
    if a.elem_type != b.elem_type or b.HasField("shape") and not a.HasField("shape"):
        return False
    sizes = list(zip(a.shape.dim, b.shape.dim))
    return not b.HasField("shape") or len(a.shape.dim) == len(b.shape.dim) and all(
        x.HasField("dim_value") and x.dim_value == y.dim_value if y.HasField("dim_value") and y.dim_value >= 0 else True for x, y in sizes)


def lost_value_infos(back, original):
    """Declared types of inner values of the main graph, and of inputs and outputs, that the export does not give."""
    def infos(graph):
        return {info.name: info.type for info in [*graph.input, *graph.output, *graph.value_info] if info.name}

    defined = {name for node in original.graph.node for name in node.output}
    defined |= {info.name for info in [*original.graph.input, *original.graph.output]}
    ours, theirs = infos(back.graph), infos(original.graph)
    return [name for name, kind in theirs.items()
            if name in defined and not is_at_least(ours.get(name, onnx.TypeProto()), kind)]
