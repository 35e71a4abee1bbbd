"""A batch in parts as contracts judge it: frame by frame, typed, with what people decided about its rows laid over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from baton.data import stored
from baton.data.datasets import read_frames
from baton.data.identity import with_row_identity
from baton.data.parts import give_back
from baton.data.typed import Parsed, parse
from baton.errors import BatonError
from baton.progress import tell
from baton.quarantine.records import answers

if TYPE_CHECKING:
    import pandas as pd

    from baton.data.datasets import DatasetRef
    from baton.specs.contract import ContractSpec

FRAME_ROWS = 100_000  # judged at a time


class Batch:
    """A batch in parts, or some parts of one, frame by frame as people repaired it, and typed; the same each time.

    A frame ends where a part does: so each part's rows are the same frames, whoever has which parts.

    Attributes:
        sources: of the rows read so far.
        judged: rows read last, without those that people discarded.
        lengths: rows of each frame read last, with those.
        span: numbers of the first and the last row read last.
    """

    def __init__(
        self, ref: DatasetRef, flow: str, partition: str, spec: ContractSpec, entities: Collection[str]
    ) -> None:
        """`entities`: see `typed.parse`."""
        self.ref, self.spec, self._entities = ref, spec, entities
        self.answers = answers(flow, partition)
        self.ends = stored.ends(self.ref)
        self.sources: set[str] = set()
        self.judged = 0
        self.lengths: list[int] = []
        self.span = (0, 0)
        self._flow, self._where = flow, f"{flow} {partition}"

    def read(
        self, doing: str, wanted: Callable[[int], bool] | None = None
    ) -> Iterator[tuple[int, pd.DataFrame, Parsed]]:
        """The frames with their numbers, their rows told as they are `doing`; whoever takes one lets it go before the next.

        Args:
            wanted: only the parts that have a frame of such a number.

        Raises:
            BatonError: rows are not numbered upwards: over all parts nobody could tell whether one occurs twice.
        """
        last = self.judged = 0
        self.lengths = []
        for number, before, frame in self._frames(wanted):
            frame = with_row_identity(frame, self._flow, self.ref.start + before + 1)
            numbers, done = frame["_row"], before + len(frame)
            if not numbers.is_monotonic_increasing or numbers.iloc[0] <= last:
                raise BatonError(
                    f"{self._where}: rows of a batch in parts are numbered upwards (`_row`), but {int(numbers.iloc[0])} or one "
                    f"behind it does not follow {last}: give each source a contract of its own before they are put together"
                )
            self.span = (self.span[0] if last else int(numbers.iloc[0]), int(numbers.iloc[-1]))
            last = self.span[1]
            self.sources |= sources_of(frame)
            self.lengths.append(len(frame))
            frame = self.answers.laid_over(frame)
            self.judged += len(frame)
            made = [(number, frame, parse(frame, self.spec, self._entities))]
            del frame, numbers
            yield made.pop()  # whoever takes the frame has it alone
            give_back()
            tell(doing, "rows", done, self.ref.rows)

    def _frames(self, wanted: Callable[[int], bool] | None) -> Iterator[tuple[int, int, pd.DataFrame]]:
        """Frames as they are stored, with their numbers and how many rows come before."""
        number = before = 0
        if wanted is None:
            for frame in read_frames(self.ref, FRAME_ROWS, self.ends, exact=True):
                made, before, number = [(number, before, frame)], before + len(frame), number + 1
                del frame
                yield made.pop()
            return
        edges = sorted({0, *self.ends})
        for part in stored.windows(self.ref, edges):
            many = -(-part.rows // FRAME_ROWS)
            if any(map(wanted, range(number, number + many))):
                for place, frame in enumerate(read_frames(part, FRAME_ROWS, exact=True)):
                    made = [(number + place, before + place * FRAME_ROWS, frame)]
                    del frame
                    yield made.pop()
            number, before = number + many, before + part.rows


def sources_of(frame: pd.DataFrame) -> set[str]:
    """The sources that rows were read from, where they say so."""
    return set(frame["_source"]) if "_source" in frame else set()
