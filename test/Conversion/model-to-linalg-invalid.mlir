// RUN: rm -rf %t && split-file %s %t
// RUN: not ffnc compile %t/operator.mlir -o %t/out 2>&1 | FileCheck %s --check-prefix=OPERATOR
// RUN: not ffnc compile %t/type.mlir -o %t/out 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not ffnc compile %t/size.mlir -o %t/out 2>&1 | FileCheck %s --check-prefix=SIZE
// RUN: not ffnc compile %t/main.mlir -o %t/out 2>&1 | FileCheck %s --check-prefix=MAIN
// RUN: not ffnc compile %t/other.mlir -o %t/out 2>&1 | FileCheck %s --check-prefix=OTHER
// RUN: not ls %t/out

//--- operator.mlir
// OPERATOR: error: node 'd' (Det): operator Det version 11 with inputs ('tensor<3x3xf32>') cannot be compiled: this operator has no lowering [FFN-C101]
// OPERATOR-NEXT: note:
// OPERATOR-NOT: error
func.func @main(%x: tensor<3x3xf32>) -> tensor<f32> {
  %y = onnx.node "Det" v11 (%x) : (tensor<3x3xf32>) -> tensor<f32> names ["d", "y"]
  return %y : tensor<f32>
}

//--- type.mlir
// TYPE: error: input 0 of type {{.*}} cannot be compiled: only ranked tensors {{.*}}[FFN-C102]
// TYPE-NOT: error
func.func @main(%x: tensor<*xf32>) -> tensor<*xf32> {
  return %x : tensor<*xf32>
}

//--- size.mlir
// SIZE: error: graph 'main', node (Reshape): because of result 0, output 0 'output0' cannot be compiled: the size of its dimension 0 is known only after the run{{.*}} [FFN-C103]
// SIZE-NEXT: note:
// SIZE-NOT: error
func.func @main(%x: tensor<?xf32>, %s: tensor<2xi64>) -> tensor<?x?xf32> {
  %y = onnx.node "Reshape" v13 (%x, %s) : (tensor<?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

//--- main.mlir
// MAIN: error: module has no function @main with one block [FFN-C100]
// MAIN-NOT: error
func.func @other(%x: tensor<4xf32>) -> tensor<4xf32> {
  return %x : tensor<4xf32>
}

//--- other.mlir
// OTHER: error: operation 'math.exp' cannot be compiled [FFN-C102]
// OTHER-NOT: error
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = math.exp %x : tensor<4xf32>
  return %y : tensor<4xf32>
}
