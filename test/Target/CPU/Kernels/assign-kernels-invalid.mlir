// RUN: not ffn-opt %s --ffn-cpu-assign-kernels=level=sse9 2>&1 | FileCheck %s

// CHECK: error: no level of the CPU target is called 'sse9': native, avx2, avx2_vnni, avx512 or avx512_vnni [FFN-C110]
func.func @main() {
  return
}
