"""The Ray engine: read -> decode -> edit in an actor pool, each group written from its actor.

Ray Data restarts actors and nodes that die and hands their blocks out again; a group that has its
shard is then passed over. Its own checkpoints are not relied on, and nothing that a row does may
raise out of an actor, for that would end the whole job.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisespace.batch.job import Group
from noisespace.batch.records import done
from noisespace.batch.run import Stop
from noisespace.batch.work import load_group
from noisespace.batch.worker import Order, Worker, cores
from noisespace.errors import InputError, RunError, reason

MOST_BLOCKS = 20_000
DECODING = 0.1  # of a core: what Ray reckons with, so that actors leave room for decoding
EDITING = 0.9


def ray_of() -> Any:
    """Ray with its Data library; InputError where it is not installed."""
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise InputError(
            f"--engine ray needs {error.name}; install noisespace[ray] (pip install "
            '"noisespace[ray]")'
        ) from None
    return ray


@dataclass(frozen=True)
class Cluster:
    """``least`` to ``most`` actors, each with so many ``gpus`` (a fraction shares one).

    ``address``: of a running cluster (None: that of RAY_ADDRESS, or one of this machine alone).
    """

    order: Order
    least: int = 1
    most: int | None = None
    gpus: float = 0.0
    address: str | None = None

    def __call__(self, todo: Sequence[Group], stop: Stop) -> Generator[Group]:
        """Yields groups as they are done. A stop lets every actor finish the group it has."""
        ray, order = ray_of(), self.order
        if not todo:
            return
        order.halted.unlink(missing_ok=True)
        mine = self.join(ray)
        known = {group.number: group for group in todo}
        try:
            for batch in self.pipeline(ray, todo).iter_batches(batch_size=1, prefetch_batches=0):
                if str(batch["wrong"][0]):
                    raise InputError(str(batch["wrong"][0]))
                if stop and not order.halted.exists():
                    order.halted.touch()
                if bool(batch["done"][0]):
                    yield self.seen(known[int(batch["number"][0])])
        except InputError:
            raise
        except Exception as error:
            raise RunError(f"Ray ended the job: {reason(error)}") from None
        finally:
            order.halted.unlink(missing_ok=True)
            if mine:
                ray.shutdown()

    def seen(self, group: Group) -> Group:
        """The group, whose shard must be here: InputError where nodes do not share the folder."""
        if not done(self.order.out, group.name):
            raise InputError(
                f"{self.order.out}: {group.name} was done on another machine but is not here; OUT "
                "must be a folder that all machines of the cluster share"
            )
        return group

    def join(self, ray: Any) -> bool:
        """Connects to the cluster, or starts one here; whether it is ours to shut down."""
        if ray.is_initialized():
            return False
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of settings that later versions will have
            try:
                ray.init(address=self.address, **options)
            except ConnectionError as error:
                raise InputError(
                    f"no Ray cluster answers at {self.address or 'RAY_ADDRESS'} ({reason(error)})"
                ) from None
            except ValueError:  # an address with options that are a new cluster's alone
                ray.init(address=self.address, log_to_driver=False)
        return True

    def pipeline(self, ray: Any, todo: Sequence[Group]) -> Any:
        """The data set of done groups; nothing runs before it is iterated over."""
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"group": group} for group in todo]
        blocks = min(len(items), MOST_BLOCKS)
        most = max(self.least, self.most or max(self.least, cores()))
        strategy = ray.data.ActorPoolStrategy(min_size=self.least, max_size=most)
        device = "cuda" if self.gpus else self.order.job.device
        share = {"num_gpus": self.gpus} if self.gpus else {}
        return (
            ray.data.from_items(items, override_num_blocks=blocks)
            .map_batches(decoded, batch_size=1, num_cpus=DECODING)
            .map_batches(
                Edit,
                batch_size=1,
                compute=strategy,
                num_cpus=EDITING,
                fn_constructor_kwargs={"order": self.order, "device": device},
                **share,
            )
        )


def decoded(batch: dict[str, Any]) -> dict[str, Any]:
    """Groups with their pixels, read and decoded on whichever machine has a core to spare."""
    groups = list(batch["group"])
    return {"group": objects(groups), "loaded": objects([load_group(g) for g in groups])}


class Edit:
    """An actor: its model is loaded once and stays."""

    def __init__(self, order: Order, device: str) -> None:
        self._worker = Worker.start(order, device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Does groups and says which; what ends the job is told, not raised: Ray would retry it."""
        numbers, finished, wrong = [], [], []
        for group, loaded in zip(batch["group"], batch["loaded"], strict=True):
            numbers.append(group.number)
            try:
                finished.append(self._worker.do(group, loaded))
                wrong.append("")
            except Exception as error:
                finished.append(False)
                wrong.append(reason(error) or type(error).__name__)
        return {"number": np.array(numbers), "done": np.array(finished), "wrong": np.array(wrong)}


def objects(values: list[Any]) -> np.ndarray:
    """A column of Python objects: numpy would otherwise look into lists."""
    column = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        column[index] = value
    return column
