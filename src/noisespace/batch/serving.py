"""A worker process of the local engine: its model, fed by a pipe."""

from __future__ import annotations

import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing.connection import Connection

from noisespace.batch.local import DECODERS, Order, Waiting, submitted, worker_of
from noisespace.batch.stores import StoreError
from noisespace.batch.worker import DeviceError
from noisespace.errors import reason
from noisespace.system.workers import end_with_parent


def serve(pipe: Connection, order: Order, index: int) -> None:
    """A worker process: takes tasks until it is told to end, and says what became of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore")  # of the library, which are notes, the first of each is shown
    warnings.filterwarnings("once", category=UserWarning)
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"
    try:
        worker = worker_of(order, index)
        pipe.send(("begun", None))
        with ThreadPoolExecutor(DECODERS) as pool:
            waiting = Waiting()
            while True:
                while not waiting or pipe.poll():
                    task = pipe.recv()
                    if task is None:
                        pool.shutdown(cancel_futures=True)
                        return
                    waiting.append(submitted(pool, task))
                task, futures = waiting.popleft()
                if task.alone:  # so that nothing else can be what this process dies of
                    wait([future for _, others in waiting for future in others])
                decoded = [future.result() for future in futures]
                told = worker.run(task, decoded, lambda row: pipe.send(("row", row)))
                pipe.send(("told", told))
    except StoreError as error:
        pipe.send(("full", reason(error)))
    except (EOFError, DeviceError):  # heard as a death: another process takes its place
        return
    except Exception as error:
        pipe.send(("broken", reason(error)))
