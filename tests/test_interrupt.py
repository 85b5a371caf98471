"""The first signal sets a flag, the second ends the process with code 3."""

import os
import signal
import subprocess
import sys

import pytest

from textreg.interrupt import stop_flag


def test_before_the_first_step_a_signal_raises() -> None:
    with pytest.raises(KeyboardInterrupt), stop_flag() as stop:
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.is_set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_later_only_a_flag_is_set(number: int) -> None:
    before = signal.getsignal(number)
    with stop_flag() as stop:
        stop.immediate = False
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
    assert signal.getsignal(number) is before


def test_a_second_signal_exits_at_once() -> None:
    program = (
        "import os, signal\n"
        "from textreg.interrupt import stop_flag\n"
        "with stop_flag() as stop:\n"
        "    stop.immediate = False\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('never', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 3
    assert done.stdout == "still here\n"
    assert "once more" in done.stderr


def test_a_second_signal_is_ignored_where_every_one_comes_twice() -> None:
    with stop_flag(patient=True) as stop:
        stop.immediate = False
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
