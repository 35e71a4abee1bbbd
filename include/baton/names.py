"""Names that more than one room spells: of stages and DAGs, and of what Baton keeps in the registry."""

INGEST, CONTRACT, PUBLISH, HISTORY = "ingest", "contract", "publish", "history"
ASSEMBLE, REGISTER, JUDGE, APPROVE, MOVE_CHAMPION = "assemble", "register", "judge", "approve", "move_champion"
JUDGE_WINDOWS, PREPARE = "judge_windows", "prepare"
# what of the registry only Baton's account writes (`services.mlflow_access` keeps everybody else from it)
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous_champion"
OWN_TAGS, REVIEW, REVIEW_BY, REFUSED = "baton.", "baton.review", "baton.review_by", "baton.refused."
EDGES = "edges"  # fact of what a step that is `apart` made of some rows: where the rows of each task end
GROUP = "group."  # inputs of a commit that names as one what several tasks made: group.0, group.1, ...
DRIFT = "drift__"  # run ids of the trainings that a monitor starts begin so; the number of its request follows
_PART = "__"  # between the verb and what it is about


def ingest_of(source: str) -> str:
    """Stage that reads a further source of a flow."""
    return f"{INGEST}{_PART}{source}"


def contract_behind(stage: str) -> str:
    """Stage that checks what another one hands over: `contract`, and `contract__<source>` behind a further source."""
    return f"{CONTRACT}{stage.removeprefix(INGEST)}" if stage.startswith(ingest_of("")) else CONTRACT


def read_pieces_of(stage: str) -> str:
    """Task whose instances read the pieces of a large file for a stage that reads a source."""
    return f"read_pieces{stage.removeprefix(INGEST)}"


def judge_parts_of(contract: str) -> str:
    """Task whose instances judge the parts of a large batch for a contract's stage."""
    return f"judge_parts{contract.removeprefix(CONTRACT)}"


def score_of(model: str) -> str:
    """Stage that scores with a model."""
    return f"score{_PART}{model}"


def candidate_of(name: str) -> str:
    """Stage that tries one candidate of a training."""
    return f"candidate{_PART}{name}"


def earlier_of(stage: str) -> str:
    """Stage that looks back on what another one made."""
    return f"earlier{_PART}{stage}"


def confirmed_of(model: str) -> str:
    """Stage that looks up what people confirmed for a model."""
    return f"confirmed{_PART}{model}"


def train_of(model: str) -> str:
    """DAG that trains a model."""
    return f"{model}_train"


def promote_of(model: str) -> str:
    """DAG that judges a model's challenger and moves its champion."""
    return f"{model}_promote"


def monitor_of(model: str) -> str:
    """DAG that watches a model."""
    return f"{model}_monitor"


def scoring_of(model: str) -> str:
    """DAG that scores with a model alone, where its spec asks for one."""
    return f"{model}_score"
