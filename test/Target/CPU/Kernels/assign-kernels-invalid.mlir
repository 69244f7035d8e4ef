// RUN: not ffn-opt %s --ffn-cpu-assign-kernels=level=sse9 2>&1 | FileCheck %s

// CHECK: error: no level of the CPU target is called 'sse9': native, avx2, avx512 [FFN-C110]
func.func @main() {
  return
}
