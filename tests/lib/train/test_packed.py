import gc
import pickle
from functools import partial

from lib.train.packed import Packed


def add_unless_collecting(one: int, other: int) -> tuple[int, bool]:
    return one + other, gc.isenabled()


def test_a_function_is_unpacked_where_it_is_called() -> None:
    packed = Packed.of(partial(add_unless_collecting, 1, 2))
    sent = pickle.loads(pickle.dumps(packed))
    assert b"add_unless_collecting" in sent.pickled
    assert sent() == (3, True)
