// RUN: not ffn-opt %s --ffn-cpu-assign-products=level=sse9 2>&1 | FileCheck %s
// CHECK: no level of the CPU target is called 'sse9'{{.*}}[FFN-C110]
module {}
