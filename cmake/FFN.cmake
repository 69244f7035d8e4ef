# Build helpers. Every library folder is one object library; all of them
# together are libffn_mlir.so, which tools and the Python extension link.

set_property(GLOBAL PROPERTY FFN_OBJECTS "")
set_property(GLOBAL PROPERTY FFN_TABLEGEN_TARGETS "")

# ffn_add_library(<name>): all *.cpp of the current folder, new files included
# by a plain rebuild.
function(ffn_add_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  list(SORT sources)
  if(NOT sources)
    return()
  endif()
  add_library(${name} OBJECT ${sources})
  set_property(TARGET ${name} PROPERTY POSITION_INDEPENDENT_CODE ON)
  set_property(GLOBAL APPEND PROPERTY FFN_OBJECTS ${name})
endfunction()

# Call once after all libraries: generated headers precede every compilation.
function(ffn_link_shared_library)
  get_property(objects GLOBAL PROPERTY FFN_OBJECTS)
  get_property(tablegen GLOBAL PROPERTY FFN_TABLEGEN_TARGETS)
  set(inputs "")
  foreach(object IN LISTS objects)
    if(tablegen)
      add_dependencies(${object} ${tablegen})
    endif()
    list(APPEND inputs $<TARGET_OBJECTS:${object}>)
  endforeach()
  add_library(ffn_mlir SHARED ${inputs})
  target_link_libraries(ffn_mlir PUBLIC MLIR LLVM)
  if(tablegen)
    add_dependencies(ffn_mlir ${tablegen})
  endif()
endfunction()

# ffn_tablegen(<target> <file.td> <generator>=<output> ...)
function(ffn_tablegen target td)
  set(LLVM_TARGET_DEFINITIONS ${td})
  foreach(pair IN LISTS ARGN)
    string(REGEX MATCH "^(.*)=([^=]*)$" _ "${pair}")
    string(REPLACE "," ";" flags "${CMAKE_MATCH_1}")
    mlir_tablegen(${CMAKE_MATCH_2} ${flags})
  endforeach()
  add_public_tablegen_target(${target})
  set_property(GLOBAL APPEND PROPERTY FFN_TABLEGEN_TARGETS ${target})
endfunction()
