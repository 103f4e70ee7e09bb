"""The language of master and workers: messages, the arrays in them, and memory that both share."""

from coded_als.wire.clock import CLOCK as CLOCK, Poller as Poller, SystemClock as SystemClock
from coded_als.wire.frames import Packed as Packed, WireError as WireError, packed as packed
from coded_als.wire.memory import (
    SharedMemory as SharedMemory,
    SharedMemoryView as SharedMemoryView,
    shared_memory as shared_memory,
)
from coded_als.wire.messages import (
    ANY_NUMBER as ANY_NUMBER,
    Absent as Absent,
    Acknowledged as Acknowledged,
    Alive as Alive,
    Answer as Answer,
    Ask as Ask,
    Cancel as Cancel,
    Failure as Failure,
    FromMaster as FromMaster,
    FromWorker as FromWorker,
    Hello as Hello,
    Load as Load,
    Message as Message,
    Ping as Ping,
    Refused as Refused,
    Reply as Reply,
    Response as Response,
    Retain as Retain,
    Stamp as Stamp,
    Stop as Stop,
    Store as Store,
    Superseded as Superseded,
    Task as Task,
    Welcome as Welcome,
    Word as Word,
    decode as decode,
    encode as encode,
    has_message as has_message,
    next_event as next_event,
    send as send,
)
