"""One tree of settings, read once from a YAML file.

Lives here: every knob of the sidecar, with its unit and the reason for its default.
Comes in: a YAML file. Goes out: a frozen `Settings`.
Must never know: the environment; secrets (the engine's token) come from there and are never in this tree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.document import first_fault, read_yaml
from agent.types import InvalidInput

_MOST_DAYS, _MOST_S = 36_500, 36_500 * 86_400
"""A hundred years: what is longer no calendar can count."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class EngineSettings(_Section):
    """The vLLM server beside this sidecar."""

    url: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://")
    """Where vLLM listens. The sidecar is the only one that uses its admin paths."""
    base_model: str = "base"
    """The name under which vLLM serves the bare model; evaluation compares against it."""
    max_lora_rank: int = Field(default=16, ge=1)
    """What vLLM was started with (`--max-lora-rank`): an adapter of a higher rank is refused before it is tried."""
    drain_s: float = Field(default=5.0, ge=0, le=_MOST_S)
    """Seconds without traffic that an adapter must show before it is unloaded: lets streams end."""


class HttpSettings(_Section):
    """The sidecar's own HTTP: metrics, status page, feedback."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback by default, because the status page shows redacted texts."""
    port: int = Field(default=8321, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and writes it to `<home>/agent.json`."""
    hosts: tuple[str, ...] = ()
    """Names, without port, by which browsers come to the status page, beside `localhost` and every address: that of a
    proxy or an ingress. Any other name is refused, because a foreign page may have made it point here."""


class CaptureSettings(_Section):
    """What is kept of the traffic."""

    text: Literal["redacted", "none"] = "redacted"
    """redacted: texts are stored with private data masked. none: no text is stored at all, only numbers, labels and
    profiles; the detector, the judge, corrections and retraining, which need text, then rest."""
    names: Path | None = None
    """Text file of people's names, one a line, masked by [NAME]. A line in small letters is found in any case, one
    with capitals only as written or in capitals, so that `Mark` leaves the word `mark` alone."""
    patterns: tuple[str, ...] = ()
    """Your own RE2 patterns; what they match is replaced by [REDACTED] before anything is stored."""
    user_key: str = "trimtab"
    """Key of the hash that stands for a user's name in the store; change it to unlink old records."""
    keep_per_window: int | None = Field(default=None, ge=0)
    """Texts that stay of each `drift.window_rows` exchanges once all loops have read them, chosen by chance; beside
    them stays whatever was graded, is named by an open order, or is an alarm's example. None keeps all."""
    keep_days: float = Field(default=30.0, gt=0, le=_MOST_DAYS)
    """Days after which an exchange is deleted; what it counted for stays counted."""
    keep_labelled_days: float = Field(default=365.0, gt=0, le=_MOST_DAYS)
    """The same for an exchange that a person labelled; nothing shortens it, not even `keep_bytes`."""
    keep_bytes: int = Field(default=2 * 1024**3, ge=1024**2)
    """Size of the database, in bytes, above which the oldest exchanges are deleted before their days are over."""
    min_free_mb: int = Field(default=200, ge=0)
    """Free megabytes of the disk below which no texts are stored, only numbers and profiles; they come back by
    themselves at one and a half times as much."""


class StoreSettings(_Section):
    """Where everything durable is kept."""

    url: str | None = Field(default=None, pattern=r"^(sqlite:///|postgres(ql)?(\+psycopg)?://)")
    """Address of the database; None is SQLite in `<home>/trimtab.db`. PostgreSQL: `postgresql://user@host:5432/name`, a
    database of its own. With a password it belongs into the environment instead, as TRIMTAB_STORE_URL."""
    connections: int = Field(default=8, ge=4, le=100)
    """Most connections of this process to PostgreSQL at once; two stay open in quiet times. Each office that it
    stands for has one more: two for role all, one for the others."""
    pod: str | None = None
    """Name of this sidecar where several write to one database; None takes the machine's, on Kubernetes the pod's."""


class ObjectsSettings(_Section):
    """Where adapters are kept so that other machines get them: Jobs, other sidecars."""

    url: str | None = Field(default=None, pattern=r"^(s3://[^/@]+(/.*)?|file:///.*)$")
    """`s3://bucket/prefix` or `file:///folder`: accepted adapters go there first, and are fetched from there, verified,
    into `home` before the engine loads them. None: they are in `home` alone. Keys come from the environment
    (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine)."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """Address of an S3 server that is not Amazon's (MinIO, Ceph). It must know conditional writes."""
    region: str | None = None
    """The bucket's region; None takes the environment's AWS_REGION."""


class DriftSettings(_Section):
    """The sequential detector's promise and size."""

    window_rows: int = Field(default=100, ge=10)
    """Exchanges in one window: the unit of profiles and of the false-alarm budget."""
    budget_windows: int = Field(default=500, ge=10)
    """With no change, at most one false alarm in this many windows on average, however often one looks."""
    reference_rows: int = Field(default=300, ge=50)
    """Exchanges that become the reference after a swap, when a version brings none of its own."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random tie-breaking: the same stream gives the same alarms."""
    latency: bool = False
    """Let latencies raise drift alarms too. Off: they move with load and neighbours, and are no news of the texts."""
    report: bool = True
    """Build an Evidently report (in a process of its own) when an alarm fires."""


class ProfileSettings(_Section):
    """What each window of exchanges is summed up in."""

    language: bool = True
    """Tell the language of prompts and answers (10 to 40 us an exchange); off leaves the label `off`."""
    slices: int = Field(default=4, ge=0, le=50)
    """Templates, and languages, of which the commonest in a window get a profile of their own; the rest share one."""
    reference: Path | None = None
    """Training set (JSON lines) or profile file that distances start from; None takes the version's own
    `reference.jsonl`, and its first window for what texts do not tell."""


class QualitySettings(_Section):
    """Whom to judge and how sure to be."""

    judge_url: str | None = None
    """OpenAI-compatible endpoint of the judge; None uses the engine itself."""
    judge_model: str | None = None
    """Served name of the judge model; None switches the judge off."""
    judge_path: Path | None = None
    """Adapter folder of the judge, when the engine beside this sidecar serves it; kept loaded like the champion."""
    judge_kind: Literal["likelihood", "rubric"] = "likelihood"
    """likelihood: mean log-probability of the answer under a reference model. rubric: a chat model that scores."""
    judge_template: str | None = None
    """For likelihood: system message put before the prompt; None uses the exchange's own messages.
    For rubric: the rubric, which says what the scores 1 to 5 mean; None takes a general one."""
    judge_midpoint: float = -0.5
    """For likelihood: mean log-probability at which an answer is as likely right as wrong (calibrated offline)."""
    judge_slope: float = 5.0
    """For likelihood: steepness of the logistic that turns the mean log-probability into a score in [0, 1]."""
    sample_share: float = Field(default=0.5, ge=0, le=1)
    """Share of exchanges that the judge sees, chosen by a hash of their id: fair, and the same after a restart."""
    calls_per_minute: float = Field(default=60.0, gt=0)
    """Hard budget of judge calls; what does not fit is left unjudged, never queued for ever."""
    window_exchanges: int = Field(default=300, ge=20)
    """Newest exchanges that an estimate rests on."""
    level: float = Field(default=0.95, gt=0, lt=1)
    """Coverage of the interval."""
    floor: float = Field(default=0.7, ge=0, le=1)
    """Quality that must be kept: an interval wholly below it is a breach."""
    objective: float = Field(default=0.8, gt=0, lt=1)
    """Share of good answers that users are promised over 30 days; the alert rules say how fast its error budget burns.
    It moves nothing by itself: what acts is `floor`."""
    min_truth: int = Field(default=10, ge=2)
    """Truth labels without which no estimate is given."""


class PolicySettings(_Section):
    """When to act."""

    cooldown_s: float = Field(default=600.0, ge=0, le=_MOST_S)
    """Seconds after a finished order before the next one may be opened."""
    fresh_exchanges: int = Field(default=200, ge=1)
    """Exchanges since the onset of the drift that a retraining order needs to learn from."""
    retrain_on_drift_alone: bool = False
    """Open an order on a drift alarm even when measured quality holds; by default drift alone is only watched."""
    truth_labels: int = Field(default=10, ge=2)
    """Truth labels that an estimate must rest on before it is reason to retrain or to roll back."""
    recovery: float = Field(default=0.02, ge=0, le=1)
    """Hysteresis: once quality is low, the upper end of its interval must rise so far above what it fell below."""
    confirm_s: float = Field(default=0.0, ge=0, le=_MOST_S)
    """Seconds for which quality must have been low before that is reason to retrain."""
    budget_days: float = Field(default=30.0, gt=0, le=_MOST_DAYS)
    """Days, counted back from now, over which the two budgets below are spent."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """GPU-hours that orders may take within `budget_days`; one that would exceed it, if it takes as long as the last,
    is not opened. None: no bound."""
    order_gpus: float = Field(default=1.0, gt=0)
    """GPUs that the job of an order holds while it runs: what turns its hours into GPU-hours."""
    judge_money: float | None = Field(default=None, gt=0)
    """Money for the judge's tokens within `budget_days`, in the currency of `judge_price`; when it is spent the judge
    rests and quality is told from people's labels alone. None: no bound."""
    judge_price: float | None = Field(default=None, gt=0)
    """What a million tokens of the judge cost."""
    quiet_hours: tuple[Annotated[str, Field(max_length=100)], ...] = ()
    """Times in which no order is opened, no canary begins and one that has begun stays at its share: such as
    `mon-fri 08:00-20:00`, `sat,sun 00:00-24:00` or `22:00-06:00` (every day, over midnight), by the clock on the wall
    of `time_zone`. Rolling back goes on."""
    time_zone: str | None = None
    """The zone of `quiet_hours`, by its IANA name: `Europe/Berlin`, `UTC`."""


class KubernetesSettings(_Section):
    """Orders as Kubernetes Jobs."""

    namespace: str | None = None
    """Where the Jobs run; None takes the sidecar's own namespace."""
    image: str | None = None
    """Image of the Jobs, with `trimtab[agent,retrain]` in it; needed for `launcher: kubernetes`."""
    resources: dict[Literal["limits", "requests"], dict[str, str | int | float]] = {"limits": {"nvidia.com/gpu": 1}}
    """Requests and limits of the Job's container, as Kubernetes writes them."""
    queue: str | None = None
    """Kueue's local queue: the Job gets the label `kueue.x-k8s.io/queue-name`, and waits until it is admitted."""
    service_account: str = "default"
    """Service account of the Jobs; they ask nothing of Kubernetes, so its token is not mounted."""
    secrets: tuple[str, ...] = ()
    """Secrets whose keys become environment variables of the Job: TRIMTAB_TOKEN, TRIMTAB_STORE_URL, AWS keys."""
    claims: dict[str, str] = Field(default_factory=dict)
    """Persistent volume claims to mount, name to folder: the base model's, the replay's. The order names files as the
    sidecar sees them, so mount them alike. One mounted at `home` keeps the stages of a Job that was killed; without it
    `home` is an empty folder of the Job's own."""
    pod: dict[str, Any] = Field(default_factory=dict)
    """More of the pod's spec, as Kubernetes writes it: nodeSelector, tolerations, affinity, imagePullSecrets."""
    deadline_s: int = Field(default=86_400, ge=60, le=_MOST_S)
    """Seconds after which a Job is ended, whatever it does."""
    ttl_s: int = Field(default=86_400, ge=60, le=_MOST_S)
    """Seconds for which an ended Job stays to be looked at."""


class RaySettings(_Section):
    """Orders as jobs of a Ray cluster."""

    address: str | None = Field(default=None, pattern=r"^https?://")
    """The cluster's dashboard, such as `http://ray-head:8265`; needed for `launcher: ray`."""
    gpus: float = Field(default=1.0, ge=0)
    """GPUs that Ray reserves for an order."""
    cpus: float = Field(default=1.0, ge=0)
    """CPUs that it reserves."""
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    """Ray's runtime environment of the job (image, pip, env_vars). Anybody who sees Ray's dashboard sees it: secrets
    belong into the environment of the cluster's machines."""


class RetrainSettings(_Section):
    """What an order made by the policy says."""

    base_model_path: Path | None = None
    """Folder of the base model's weights (Hugging Face layout); needed to retrain."""
    replay: Path | None = None
    """JSON lines of the original training set, mixed in against forgetting."""
    labeller: str | None = None
    """`file.py:function`, text -> answer or None: labels prompts that nobody corrected; marked as weak labels."""
    max_fresh_rows: int = Field(default=400, ge=1)
    """Newest fresh rows to learn from."""
    max_replay_rows: int = Field(default=400, ge=0)
    """Replay rows to mix in."""
    holdout_rows: int = Field(default=500, ge=10)
    """Rows of each holdout slice that champion, challenger and bare base answer. Few rows prove little: the gate's
    promises (retrain/README.md) are for 500; with 120 it mostly asks for more data."""
    canary: Path | None = None
    """JSON lines of general questions that a new version must still answer; asked, never learnt."""
    data: dict[str, Any] = Field(default_factory=dict)
    """Further keys of an order's `data`: external, holdouts, judge_approved, labelling_functions, teacher,
    curation; retrain/README.md lists them."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """Fields of `retrain.recipe.Recipe` that differ from its defaults."""
    init_from_champion: bool = True
    """Start from the champion's weights rather than from scratch."""
    engine_url: str | None = Field(default=None, pattern=r"^https?://")
    """Where a job finds the vLLM in which champion and challenger answer its contest; None takes `engine.url`. A
    controller names the vLLM in the job's own pod: through the Service of many one is loaded by chance."""
    max_attempts: int = Field(default=3, ge=1)
    """How often a job that died is started again before its order is failed."""
    memory_mb: int | None = Field(default=None, ge=512)
    """Megabytes that each process of a local order may allocate; one that wants more fails with a sentence. None: no
    bound. Kubernetes and Ray have bounds of their own."""
    launcher: Literal["local", "kubernetes", "ray"] = "local"
    """Where orders are worked off: processes of this machine, Kubernetes Jobs, or jobs of a Ray cluster
    (agent/launch/README.md)."""
    kubernetes: KubernetesSettings = KubernetesSettings()
    ray: RaySettings = RaySettings()
    min_gain: float = 0.02
    """The gate: least gain on the fresh slice (the point must reach it, the lower end of the interval must pass 0)."""
    max_loss: float = 0.03
    """The gate: largest loss on the old slice that is let pass (lower end of the paired interval)."""
    approval: Literal["none", "required"] = "none"
    """required: what the gate accepts waits for `trimtab approve NAME` or `trimtab reject NAME --reason TEXT`."""
    evaluate: dict[str, Any] = Field(default_factory=dict)
    """Fields of `retrain.order.EvaluatePart` that differ from its defaults: what is measured beside right and wrong."""


class RolloutSettings(_Section):
    """How a new version takes over."""

    steps: tuple[float, ...] = (0.1, 0.5, 1.0)
    """Shares of users that the challenger answers, step by step."""
    step_exchanges: int = Field(default=20, ge=1)
    """Exchanges by the challenger that a step needs before the next one."""
    step_max_s: float = Field(default=120.0, gt=0, le=_MOST_S)
    """A step with too little traffic goes on after this many seconds."""
    max_error_ratio: float = Field(default=0.05, ge=0, le=1)
    """Share of failed exchanges of the challenger in a step at which the rollout is rolled back."""
    probes: int = Field(default=8, ge=1)
    """Recorded answers that the served adapter must repeat before it gets any traffic."""


class NotifySettings(_Section):
    """Whom to tell what was noticed and done."""

    urls: tuple[str, ...] = ()
    """Addresses as apprise writes them (`slack://...`, `mailto://...`, `json://host/path`); those that hold a secret
    belong into the environment instead, as TRIMTAB_NOTIFY_URLS, with spaces between them."""
    about: tuple[Literal["alarm", "decision", "order", "rollout", "alert", "disk"], ...] = (
        "alarm", "decision", "order", "rollout", "alert", "disk",
    )  # fmt: skip
    """What is worth a message: drift alarms, decisions to retrain or roll back, orders opened or failed, steps of a
    rollout and what hinders it, alerts that asked for something, the disk."""
    group_s: float = Field(default=30.0, ge=0)
    """Seconds for which news is gathered into one message, from the first of it on."""
    page: str | None = Field(default=None, pattern=r"^https?://")
    """Address under which your people reach the status page; messages link to it. None: the sidecar's own."""
    runbook: str = "alerts/RUNBOOK.md"
    """Where your copy of the runbook is; messages link to it."""


class Settings(_Section):
    """Everything the sidecar can be told."""

    home: Path = Path(".trimtab")
    """Folder of all state: database, socket, adapters, orders, reports."""
    alias: str = Field(default="home", min_length=1)
    """The model name that clients use."""
    role: Literal["all", "sidecar", "controller"] = "all"
    """What this process does. sidecar: captures, takes feedback, loads the engine beside it and moves versions.
    controller: watches, judges, decides, starts orders, reports and tells; it needs no engine of its own, and
    `engine.url` is the address of all. all: both. Each task is done by one process among those of a database."""
    champion: Path | None = None
    """Adapter folder that answers at the very first start; later the store knows better."""
    champion_name: str | None = None
    """Served name of that adapter; default `<alias>-v1`."""
    reference: Path | None = None
    """JSON lines of exchanges on which that adapter was accepted: the detector's first reference."""
    tick_s: float = Field(default=1.0, gt=0, le=3600)
    """Seconds between two looks of every loop."""
    engine: EngineSettings = EngineSettings()
    http: HttpSettings = HttpSettings()
    capture: CaptureSettings = CaptureSettings()
    store: StoreSettings = StoreSettings()
    objects: ObjectsSettings = ObjectsSettings()
    drift: DriftSettings = DriftSettings()
    profile: ProfileSettings = ProfileSettings()
    quality: QualitySettings = QualitySettings()
    policy: PolicySettings = PolicySettings()
    retrain: RetrainSettings = RetrainSettings()
    rollout: RolloutSettings = RolloutSettings()
    notify: NotifySettings = NotifySettings()

    @model_validator(mode="after")
    def _steps_end_at_one(self) -> Settings:
        steps = self.rollout.steps
        if not steps or list(steps) != sorted(set(steps)) or steps[0] <= 0 or steps[-1] != 1.0:
            msg = "rollout.steps must rise from above 0 to exactly 1.0, e.g. [0.1, 0.5, 1.0]"
            raise ValueError(msg)
        return self

    @property
    def socket(self) -> Path:
        """The unix socket on which taps deliver. Kept short: the kernel allows 107 bytes."""
        return self.home / "agent.sock"

    @property
    def first_version(self) -> str:
        """Served name of the first champion."""
        return self.champion_name or f"{self.alias}-v1"


def load(path: Path | None) -> Settings:
    """Settings of a YAML file, or the defaults when there is none. Raises InvalidInput in one sentence."""
    if path is None:
        return Settings()
    document = read_yaml(path, "settings file", "an existing YAML file with --settings") or {}
    if not isinstance(document, dict):
        msg = f"settings file {path} must hold a mapping of setting names to values, not a {type(document).__name__}"
        raise InvalidInput(msg)
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(f"settings file {path}: {first_fault(error, Settings)}") from error
