#!/usr/bin/env python3
"""Writes the schema data of lib/Ops from the packages that define operators.

    gen_op_schema.py onnx    > lib/Ops/OpSchema.inc         (needs onnx)
    gen_op_schema.py contrib > lib/Ops/OpSchemaContrib.inc  (needs onnxruntime)

Operators that neither package declares (training, exporters' habits) are
written by hand in lib/Ops/OpSchemaExtra.inc, in the same form:

    OP(domain, name, since, min in, max in, min out, max out, flags, effect)
    A(name, kind, Required | Optional, default)          its attributes
    I(type variable or type, allowed types, flags)       its inputs
    O(type variable or type, allowed types, flags)       its outputs

`Variadic` as a maximum means any number. The flag Habit marks an operator that
exporters write into the default domain although only ONNX Runtime knows it
there. Allowed types are a mask with bit n
for tensors of TensorProto type n and bits 40 to 43 for sequence, optional, map
and sparse tensor.
"""
import sys

TENSOR_BITS = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8,
    "bool": 9, "float16": 10, "double": 11, "uint32": 12, "uint64": 13, "complex64": 14,
    "complex128": 15, "bfloat16": 16, "float8e4m3fn": 17, "float8e4m3fnuz": 18, "float8e5m2": 19,
    "float8e5m2fnuz": 20, "uint4": 21, "int4": 22, "float4e2m1": 23, "float8e8m0": 24, "uint2": 25,
    "int2": 26, "float6e2m3": 27, "float6e3m2": 28,
}
KINDS = {
    "FLOAT": "Float", "INT": "Int", "STRING": "String", "TENSOR": "Tensor", "GRAPH": "Graph",
    "FLOATS": "Floats", "INTS": "Ints", "STRINGS": "Strings", "TENSORS": "Tensors",
    "GRAPHS": "Graphs", "SPARSE_TENSOR": "SparseTensor", "SPARSE_TENSORS": "SparseTensors",
    "TYPE_PROTO": "TypeProto", "TYPE_PROTOS": "TypeProtos",
}
RANDOM = {
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike", "BitmaskDropout", "BiasDropout", "BitmaskBiasDropout", "Sampling",
}
# They write outside their results, or nobody can say what they do.
IMPURE = {"EPContext", "Snpe", "SampleOp"}
HABITS = {"LayerNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"}
UNBOUNDED = 2147483647


def type_bit(text):
    for prefix, bit in (("tensor(", None), ("seq(", 40), ("optional(", 41), ("map(", 42), ("sparse_tensor(", 43)):
        if text.startswith(prefix):
            return TENSOR_BITS[text[len(prefix):-1]] if bit is None else bit
    raise ValueError(f"type {text!r} is not known")


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def default_text(value):
    """Textual default: integer, float, string or list; None without one."""
    if value is None or value.type == 0:
        return None
    kind = value.type
    number = lambda x: repr(float(f"{x:.9g}"))
    if kind == 1:
        return number(value.f)
    if kind == 2:
        return str(value.i)
    if kind == 3:
        return value.s.decode()
    if kind == 6:
        return "[" + ", ".join(number(x) for x in value.floats) + "]"
    if kind == 7:
        return "[" + ", ".join(str(x) for x in value.ints) + "]"
    if kind == 8:
        return "[" + ", ".join(x.decode() for x in value.strings) + "]"
    return ""  # a tensor: the operator's own code knows it


def attr_default(attr):
    if hasattr(attr, "default_value"):
        return default_text(attr.default_value)
    import onnx

    if not attr._default_value:
        return None
    value = onnx.AttributeProto()
    value.ParseFromString(bytes(attr._default_value))
    return default_text(value)


def parameters(letter, formals, constraints):
    for formal in formals:
        variable = formal.type_str if hasattr(formal, "type_str") else formal.typeStr
        allowed = constraints.get(variable, [variable])
        mask = 0
        for text in allowed:
            mask |= 1 << type_bit(text)
        option = str(formal.option).rsplit(".", 1)[1]
        flags = {"Single": [], "Optional": ["Optional"], "Variadic": ["Repeated"]}[option]
        homogeneous = getattr(formal, "is_homogeneous", None)
        if homogeneous is None:
            homogeneous = getattr(formal, "isHomogeneous", True)
        if option == "Variadic" and not homogeneous:
            flags.append("Mixed")
        yield f"{letter}({quote(variable)}, 0x{mask:x}, {' | '.join(flags) or 'Single'})"


def emit(schema, habit=False):
    flags = "Habit" if habit else "Deprecated" if schema.deprecated else "0"
    effect = "Random" if schema.name in RANDOM else "Impure" if schema.name in IMPURE else "Pure"
    limit = lambda x: "Variadic" if x >= UNBOUNDED else str(x)
    domain = "" if habit or schema.domain == "ai.onnx" else schema.domain
    yield (f"OP({quote(domain)}, {quote(schema.name)}, {schema.since_version}, {schema.min_input}, "
           f"{limit(schema.max_input)}, {schema.min_output}, {limit(schema.max_output)}, {flags}, {effect})")
    for name in sorted(schema.attributes):
        attr = schema.attributes[name]
        kind = KINDS[str(attr.type).rsplit(".", 1)[1]]
        default = attr_default(attr)
        need = "Required" if attr.required else "Optional"
        yield f"A({quote(name)}, {kind}, {need}, {'None' if default is None else quote(default)})"
    constraints = {c.type_param_str: list(c.allowed_type_strs) for c in schema.type_constraints}
    yield from parameters("I", schema.inputs, constraints)
    yield from parameters("O", schema.outputs, constraints)


def main():
    source = sys.argv[1] if len(sys.argv) == 2 else ""
    if source == "onnx":
        import onnx
        import onnx.defs

        schemas = onnx.defs.get_all_schemas_with_history()
        habits = []
        version = f"onnx {onnx.__version__}"
        newest = {"": onnx.defs.onnx_opset_version()}
        for schema in schemas:
            newest[schema.domain] = max(newest.get(schema.domain, 0), schema.since_version)
    elif source == "contrib":
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        everything = state.get_all_operator_schema()
        schemas = [s for s in everything if s.domain == "com.microsoft"]
        habits = [s for s in everything if s.since_version == 1 and s.name in HABITS]
        version = f"onnxruntime {onnxruntime.__version__}"
        newest = {"com.microsoft": 1}
    else:
        sys.exit(__doc__)
    print(f"// Written by scripts/gen_op_schema.py {source} from {version}. Do not edit.")
    for domain in sorted(newest):
        print(f"DOMAIN({quote(domain)}, {newest[domain]})")
    order = lambda s: (s.domain, s.name, s.since_version)
    for habit, group in ((False, schemas), (True, habits)):
        for schema in sorted(group, key=order):
            print("\n".join(emit(schema, habit)))


if __name__ == "__main__":
    main()
