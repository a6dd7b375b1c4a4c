"""Arbitrary records: whatever the log can hold, whether or not it makes sense."""

from typing import TypeVar

from hypothesis import strategies as st

from fl.core.data_info import DataInfo
from fl.run.events import (
    Cause,
    ClientResult,
    ClientsAdmitted,
    ClientsOut,
    ClientsReady,
    ClientsReturned,
    Kind,
    LeaderStarted,
    MetricValue,
    Note,
    Parcel,
    Record,
    RoundClosed,
    RoundCommitted,
    RoundOpened,
    RunEnded,
    RunInitialised,
    RunPaused,
    Status,
    StillWaiting,
)
from fl.run.terms import Terms

texts = st.text(st.characters(codec="utf-8"), max_size=8)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
numbers = st.floats(allow_nan=False)
kinds = st.sampled_from(Kind)


T = TypeVar("T")


def tuples_of(items: st.SearchStrategy[T], *, min_size: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(items, min_size=min_size, max_size=3).map(tuple)


notes = tuples_of(st.builds(Note, texts, texts, st.sampled_from(Cause)))
labels = tuples_of(st.integers(-(2**63), 2**63 - 1)) | tuples_of(texts)
data_infos = st.builds(
    DataInfo, u64, st.none() | u64, st.none() | tuples_of(u64, min_size=1), st.none() | labels, st.none() | texts
)
terms = st.builds(Terms, numbers, u64, numbers, tuples_of(texts), tuples_of(texts))
any_parcels = st.builds(Parcel, st.binary(max_size=4), st.binary(max_size=4))


def decisions(parcels: st.SearchStrategy[Parcel] = any_parcels) -> st.SearchStrategy[Record]:
    """Every record but the start of a leader."""
    results = tuples_of(st.builds(ClientResult, texts, u64, u64, numbers, st.none() | numbers, st.none() | numbers))
    metrics = tuples_of(st.builds(MetricValue, texts, tuples_of(numbers), tuples_of(u64)))
    deadlines = st.none() | st.floats(min_value=0, exclude_min=True)
    maybe = st.none() | parcels
    return st.one_of(
        st.builds(ClientsAdmitted, tuples_of(st.tuples(texts, data_infos)), notes),
        st.builds(RunInitialised, data_infos, parcels, sent_weights=maybe),
        st.builds(ClientsReady, tuples_of(texts), notes, tuples_of(st.tuples(texts, terms))),
        st.builds(RoundOpened, u32, kinds, tuples_of(texts), deadlines),
        st.builds(RoundClosed, u32, tuples_of(texts)),
        st.builds(
            RoundCommitted,
            u32,
            kinds,
            results,
            notes,
            maybe,
            maybe,
            st.none() | numbers,
            metrics,
            texts,
            sent_weights=maybe,
        ),
        st.builds(StillWaiting, numbers, tuples_of(texts), tuples_of(texts)),
        st.builds(ClientsOut, notes),
        st.builds(RunPaused, texts),
        st.builds(ClientsReturned, tuples_of(texts)),
        st.builds(RunEnded, st.sampled_from(Status), texts, u32, maybe),
    )


starts = st.builds(LeaderStarted, texts, texts, u32)
