"""The call of a routine at an address, for compiled code; importing this module loads numba."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def call_at(typing_context: Any, address: Any, pointers: Any) -> Any:
    """Call the routine at ``address`` with ``pointers``, a tuple of integers; it returns nothing."""
    count = len(pointers)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte_pointer = ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [byte_pointer] * count)
        target = builder.inttoptr(arguments[0], function.as_pointer())
        unpacked = cgutils.unpack_tuple(builder, arguments[1], count)  # type: ignore[no-untyped-call]
        builder.call(target, [builder.inttoptr(pointer, byte_pointer) for pointer in unpacked])
        return context.get_dummy_value()

    return types.void(address, pointers), generate
