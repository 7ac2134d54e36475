"""What may come in, for the core's model."""

from __future__ import annotations

from hypothesis import strategies as st

from taskd.events import Action, Configure, QueueState, Selection
from taskd.task import EX_TEMPFAIL, Outcome, Policy, Reason, Spec, State, Submitter

SECOND = 1_000_000
QUEUES = ("default", "images", "gone")
SCHEDULES = ("skip", "queue", "cancel")
#: The handlers that follow another one, and that follow a batch.
FOLLOWERS = ("follower", "plain")
AFTER_BATCH = "after-batch"
POLICIES = {
    "plain": Policy(backoff=1.0, backoff_max=4.0),
    "tempfail": Policy(backoff=0.0, retry_failures=False),
    "once": Policy(backoff=2.0, requeue_interrupted=False),
    "led": Policy(on_finish=FOLLOWERS, queue="images"),
    "follower": Policy(queue="images", max_attempts=2),
}

plain_specs = st.builds(
    Spec,
    handler=st.sampled_from(["plain", "tempfail", "once", "unknown"]),
    payload=st.sampled_from(["1", '"' + "x" * 30 + '"']),
    queue=st.sampled_from(QUEUES),
    priority=st.integers(-1, 1),
    max_attempts=st.integers(1, 3),
    not_before=st.none() | st.integers(0, 20 * SECOND),
)
#: `depends_on` counts back from the newest task, 0 is one that is not there; times count from now.
specs = plain_specs | st.builds(
    Spec,
    handler=st.sampled_from(["plain", "once", "led"]),
    payload=st.sampled_from(["1", "2"]),
    queue=st.sampled_from(QUEUES),
    label=st.sampled_from([None, "a", "ab"]),
    max_attempts=st.integers(1, 2),
    not_before=st.none() | st.integers(0, 50 * SECOND),
    expires=st.none() | st.integers(0, 100 * SECOND),
    fixed_start=st.booleans(),
    fixed_expiry=st.booleans(),
    unique=st.sampled_from([None, None, "handler", "payload"]),
    depends_on=st.lists(st.integers(0, 6), max_size=3).map(tuple),
)
outcomes = st.sampled_from(
    [
        Outcome(succeeded=True),
        Outcome(succeeded=True, result="1"),
        Outcome(succeeded=False, reason=Reason.EXIT, exit_status=1),
        Outcome(succeeded=False, reason=Reason.EXIT, exit_status=EX_TEMPFAIL),
        Outcome(succeeded=False, reason=Reason.TIMEOUT),
        Outcome(succeeded=False, reason=Reason.NOT_STARTED),
        Outcome(succeeded=False, reason=Reason.INTERRUPTED),
    ]
)
#: Unknown, so short that many are started ahead, or that one or two are, and long.
durations = st.sampled_from([None, 0.001, 0.006, 0.006, 0.006, 60.0])
submitters = st.sampled_from([Submitter(), Submitter(1, 1, 1, "one"), Submitter(2, 2, 2, "two")])
configurations = st.builds(
    Configure,
    concurrency=st.fixed_dictionaries({"default": st.integers(1, 4)}, optional={"images": st.integers(1, 2)}),
    policies=st.just(POLICIES),
    queued_tasks=st.sampled_from([3, 15, 1000]),
    user_tasks=st.sampled_from([2, 10, 1000]),
    user_bytes=st.sampled_from([40, 1000]),
)
actions = st.sampled_from([*Action, Action.CANCEL])
queue_states = st.sampled_from([QueueState.OPEN, *QueueState])
#: `ids` count back from the newest task.
selections = st.builds(
    Selection,
    ids=st.none() | st.lists(st.integers(0, 8), min_size=1, max_size=3),
    states=st.lists(st.sampled_from(State), max_size=3, unique=True),
    handler=st.sampled_from([None, None, "plain", "led"]),
    queue=st.sampled_from([None, None, "default"]),
    batch=st.sampled_from([None, None, 1]),
    user=st.sampled_from([None, None, 1, "two"]),
    label=st.sampled_from([None, None, "a", "b"]),
    owner=st.sampled_from([None, None, 2]),
)
#: Tasks in a request at the most.
MOST = 8
#: An order of these, and for each places to choose from those before it, modulo how many they are; or nothing.
dependencies = st.just([]) | st.builds(
    lambda order, picks: [order, *picks],
    st.permutations(range(MOST)),
    st.lists(st.lists(st.integers(0, MOST - 1), max_size=3), min_size=MOST, max_size=MOST),
)
#: Whether twins are joined, and whose.
_JOINING = {"join": st.booleans(), "owner": st.sampled_from([None, None, 2])}
#: The same, and what makes a request's tasks a batch, or not.
batches = st.fixed_dictionaries(_JOINING) | st.fixed_dictionaries(
    {
        **_JOINING,
        "batch": st.just(True),
        "max_parallel": st.sampled_from([None, 1, 2, 3]),
        "fail_fast": st.booleans(),
        "on_finish": st.sampled_from([(), (AFTER_BATCH,)]),
    }
)
