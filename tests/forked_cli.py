"""Runs ``declarlm`` in processes that can be killed, without importing torch for each anew.

Lines on stdin: ``start ["train", ...]`` forks a process that is as good as a fresh one and prints its number;
``wait NUMBER`` prints its exit status when it has ended.
"""

import json
import os
import sys

import torch

torch.set_num_threads(1)
import bitsandbytes  # noqa: E402, F401
import peft  # noqa: E402, F401

import declarlm.api  # noqa: E402, F401
from declarlm.cli import main  # noqa: E402

for line in sys.stdin:
    verb, _, rest = line.partition(" ")
    if verb == "wait":
        _, status = os.waitpid(int(rest), 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    arguments, errors = json.loads(rest)
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    code = 0
    try:
        main(arguments)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)
