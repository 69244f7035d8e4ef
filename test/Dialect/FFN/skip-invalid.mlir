// RUN: ffn-opt %s --split-input-file --verify-diagnostics --ffn-decompose

func.func @rows(%x: tensor<?x4xf32>, %s: tensor<?x4xi1>) {
  // expected-error @below {{skip of type 'tensor<?x4xi1>' has not one element for each row of 'tensor<?x4xf32>'}}
  %y = ffn.skip %s : (tensor<?x4xi1>) -> tensor<?x4xf32> {
    ffn.skip_yield %x : tensor<?x4xf32>
  }
  return
}

// -----

func.func @integers(%x: tensor<2x4xi64>, %s: tensor<2xi1>) {
  // expected-error @below {{rows are floats, not 'i64'}}
  %y = ffn.skip %s : (tensor<2xi1>) -> tensor<2x4xi64> {
    ffn.skip_yield %x : tensor<2x4xi64>
  }
  return
}

// -----

func.func @yielded(%x: tensor<2x5xf32>, %s: tensor<2xi1>) {
  // expected-error @below {{rows of 'tensor<2x5xf32>' are none of 'tensor<2x4xf32>'}}
  %y = ffn.skip %s : (tensor<2xi1>) -> tensor<2x4xf32> {
    ffn.skip_yield %x : tensor<2x5xf32>
  }
  return
}

// -----

func.func @otherwise(%x: tensor<2x4xf32>, %z: tensor<2x4xf16>, %s: tensor<2xi1>) {
  // expected-error @below {{rows of 'tensor<2x4xf16>' are none of 'tensor<2x4xf32>'}}
  %y = ffn.skip %s else %z : (tensor<2xi1>, tensor<2x4xf16>) -> tensor<2x4xf32> {
    ffn.skip_yield %x : tensor<2x4xf32>
  }
  return
}

// -----

func.func @argument(%x: tensor<2x4xf32>, %s: tensor<2xi1>) {
  // expected-error @below {{body takes no arguments}}
  %y = ffn.skip %s : (tensor<2xi1>) -> tensor<2x4xf32> {
  ^bb0(%a: tensor<2x4xf32>):
    ffn.skip_yield %a : tensor<2x4xf32>
  }
  return
}

// -----

func.func @terminator(%x: tensor<2x4xf32>, %s: tensor<2xi1>) {
  // expected-error @below {{body must end with ffn.skip_yield}}
  %y = "ffn.skip"(%s) ({
    "onnx.yield"(%x) : (tensor<2x4xf32>) -> ()
  }) : (tensor<2xi1>) -> tensor<2x4xf32>
  return
}

// -----

func.func @cosine(%x: tensor<2x4xf32>, %y: tensor<2x5xf32>) {
  // expected-error @below {{compares rows of 'tensor<2x4xf32>' with rows of 'tensor<2x5xf32>'}}
  %c = ffn.row_cosine %x, %y : (tensor<2x4xf32>, tensor<2x5xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @margin(%x: tensor<2x4xf32>) {
  // expected-error @below {{result of type 'tensor<2x4xf32>' has not one element for each row of 'tensor<2x4xf32>'}}
  %c = ffn.row_margin %x : tensor<2x4xf32> -> tensor<2x4xf32>
  return
}

// -----

func.func @width(%x: tensor<2x?xf32>) {
  // expected-error @below {{the width of rows of 'tensor<2x?xf32>' is not known [FFN-E202]}}
  %c = ffn.row_margin %x : tensor<2x?xf32> -> tensor<2xf32>
  return
}

// -----

module attributes {onnx.model = {opset_imports = {ai.onnx = 8 : i64}}} {
  func.func @opset(%x: tensor<2x4xf32>, %s: tensor<2xi1>) {
    // expected-error @below {{a choice between rows needs opset 9, the model has 8 [FFN-E203]}}
    %y = ffn.skip %s : (tensor<2xi1>) -> tensor<2x4xf32> {
      ffn.skip_yield %x : tensor<2x4xf32>
    }
    return
  }
}
