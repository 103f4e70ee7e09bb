"""The language of master and workers: messages, the arrays in them, and memory that both share."""

from coded_als.wire.arrays import Packed, WireError, packed
from coded_als.wire.memory import SharedMemory, SharedMemoryView, shared_memory
from coded_als.wire.messages import Kind, Message, Stamp, decode, encode, has_message, send

__all__ = [
    "Kind",
    "Message",
    "Packed",
    "SharedMemory",
    "SharedMemoryView",
    "Stamp",
    "WireError",
    "decode",
    "encode",
    "has_message",
    "packed",
    "send",
    "shared_memory",
]
