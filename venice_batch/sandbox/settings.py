"""Settings of one sandbox server; the defaults are the documented Venice rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

WindowKind = Literal["fixed", "aligned", "sliding", "token-bucket"]
RetryAfterForm = Literal["none", "seconds", "date"]
ResetForm = Literal["seconds", "fractional", "ms", "iso", "duration", "none"]
Era = Literal["2026-08", "2026-10"]

STATUS_FAULTS = ("408", "429", "500", "502", "503", "504", "522", "524")
"""Faults that answer with this status instead of an image."""

WIRE_FAULTS = (
    "reset-before", "reset-mid", "short-body", "stall", "slow", "garbage", "html", "empty", "no-images",
    "bad-base64", "truncated-json", "gzip-bomb", "endless", "redirect",
)  # fmt: skip
"""Faults of the connection or of the body of a 200."""

FAULT_KINDS = STATUS_FAULTS + WIRE_FAULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """Settings of one sandbox.

    Raises: ValueError for a number out of range, an unknown choice or an unknown fault.
    """

    era: Era = "2026-10"
    """Month of the rules: 2026-10 (Venice's agent skills, 2026-10-02) or 2026-08 (API description, 2026-08-21)."""
    rpm: int = 20
    """Images per window (60 s) for each model; 0 lifts the limit. 20 is the documented default.

    In era 2026-08 a request counts once, regardless of its `variants`.
    """
    rpm_by_model: Mapping[str, int] = field(default_factory=dict)
    """Exceptions to `rpm` by model id; 0 lifts the limit of that model."""
    rpd: int = 0
    """Images per UTC day for each model, counted as for `rpm`; 0 lifts the limit."""
    speed: float = 1.0
    """Divisor of all durations in the server's rules (windows, block, latency); the clock stays real."""
    window: WindowKind = "fixed"
    """Kind of window.

    fixed: opens with the first request after the last window has ended; aligned: opens at multiples of its length in
    Unix time; sliding: the last 60 s at any time; token-bucket: refills evenly, up to the quota of a full window.
    """
    count_refused: bool = False
    """Whether refused requests use quota too; matters for sliding and token-bucket windows."""
    latency_s: float = 2.0
    """Mean simulated inference time before `speed`; 0 answers at once."""
    latency_by_model: Mapping[str, float] = field(default_factory=dict)
    """Exceptions to `latency_s` by model id."""
    latency_jitter: float = 0.3
    """Variation of the latency, evenly distributed (0.3: ±30 %)."""
    capacity: int = 0
    """Requests of one model served at the same time; one more gets a 503 at once. 0 lifts the limit."""
    failure_limit: int | None = None
    """Failures tolerated within the failure window; 0 lifts the rule. None: 50, in era 2026-08 20.

    Every 4xx except 429 counts, by key and model. In era 2026-08 every failure counts, by key.
    """
    failure_window_s: float = 30.0
    """Length of the failure window before `speed`. It opens with the first failure, and a block ends with it."""
    block_s: float = 30.0
    """Length of a block in era 2026-08, before `speed`: it refuses all requests of the key."""
    budget_headers: bool = True
    """Whether answers carry the error budget's x-ratelimit-remaining and -resets; never in era 2026-08."""
    retry_after: RetryAfterForm = "seconds"
    """Form of Retry-After on a 429 from a window or a block.

    Seconds are whole; with `speed` > 1 they have 3 decimals.
    """
    retry_after_503_s: float = 0.0
    """Seconds of Retry-After on a 503, not divided by `speed`; 0 sends none."""
    rate_headers: ResetForm | None = None
    """Form of x-ratelimit-reset-requests; "none" omits the headers of windows.

    None: ms, in era 2026-08 seconds.
    """
    rate_limits_endpoint: Literal["ok", "forbidden", "wrong"] = "ok"
    """Answer of GET /api_keys/rate_limits.

    ok: the enforced limits; forbidden: a 403, as for a key without the right; wrong: twice the enforced limits.
    """
    usage_history_endpoint: Literal["ok", "forbidden"] = "ok"
    """Answer of GET /billing/usage-history; forbidden: the 401 for a key that is no ADMIN key."""
    api_key: str | None = None
    """The only accepted key; None accepts any key except the word "invalid"."""
    pro_models: frozenset[str] = frozenset()
    """Models that answer 401 "This model is only available to Pro users"."""
    balance_usd: float = 100.0
    """Balance in dollars."""
    diem: float = 0.0
    """Balance in DIEM, spent first. One currency pays for each whole request."""
    bundled_usd: float = 0.0
    """Bundled credits, spent after DIEM and before dollars."""
    key_limit_usd: float | None = None
    """Dollars and bundled credits together that each key may spend; None for no limit."""
    fault_rate: float = 0.0
    """Probability (0 to 1) that an admitted paid request gets a fault from `fault_kinds`."""
    fault_kinds: tuple[str, ...] = ("429", "500", "502", "503", "504")
    """Faults that `fault_rate` draws from, all equally likely; names from FAULT_KINDS."""
    fault_seed: int = 0
    """Seed of that draw: the same seed gives the same faults to the same sequence of requests."""
    fault_schedule: Mapping[int, str] = field(default_factory=dict)
    """Fault for the nth admitted paid request, counted from 1; takes precedence over `fault_rate`."""
    stall_s: float = 30.0
    """Seconds for which "stall" holds the connection at most and "slow" drips the body; not divided by `speed`."""
    redirect_to: str = ""
    """Target of the fault "redirect"; "" sends clients to another port of localhost."""
    retired: Mapping[str, str] = field(default_factory=dict)
    """Model id → successor: the model is not listed, and a request for it gets a 404 that names the successor."""
    deprecated: Mapping[str, str] = field(default_factory=dict)
    """Model id → replacement: the model is listed as deprecated, and its answers have the deprecation headers."""
    styles_shape: Literal["object", "array"] = "object"
    """Shape of GET /image/styles: as in the API description (object) or in the guide (array)."""
    openai_errors: Literal["native", "openai"] = "native"
    """Errors of POST /images/generations: a text under "error" (API description) or an object like OpenAI's."""
    unknown_model_status: Literal["400", "404"] | None = None
    """Status of /image/generate for an unknown model. None: 404, in era 2026-08 400."""
    background_remove_usd: float = 0.03
    """Price of POST /image/background-remove; GET /models does not list it."""
    compress: bool = True
    """Whether to compress JSON answers for clients that ask for it in Accept-Encoding."""
    draw: Literal["art", "plain"] = "art"
    """plain: flat images of the same size and format, for high throughput; 64 different ones per size."""

    def __post_init__(self) -> None:
        for name in ("rpm", "rpd", "latency_s", "capacity", "failure_limit", "retry_after_503_s", "balance_usd", "diem",
                     "bundled_usd", "key_limit_usd", "stall_s", "background_remove_usd"):  # fmt: skip
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("speed", "failure_window_s", "block_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")
        for name in ("latency_jitter", "fault_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in (choices if name not in _BY_ERA else (*choices, None)):
                raise ValueError(f"{name} must be one of {', '.join(choices)}")
        for fault in (*self.fault_kinds, *self.fault_schedule.values()):
            if fault not in FAULT_KINDS:
                raise ValueError(f"unknown fault {fault!r}; known faults: {', '.join(FAULT_KINDS)}")
        if self.fault_rate and not self.fault_kinds:
            raise ValueError("fault_rate needs fault_kinds")
        for name in ("rpm_by_model", "latency_by_model"):
            # `< 0` would let NaN pass.
            if not all(value >= 0 for value in getattr(self, name).values()):
                raise ValueError(f"{name} must not be negative")

    @property
    def is_old(self) -> bool:
        """Whether the rules of 2026-08 hold."""
        return self.era == "2026-08"

    @property
    def failures_tolerated(self) -> int:
        """`failure_limit`, or the default of the era."""
        return (20 if self.is_old else 50) if self.failure_limit is None else self.failure_limit

    @property
    def reset_form(self) -> ResetForm:
        """`rate_headers`, or the default of the era."""
        return self.rate_headers or ("seconds" if self.is_old else "ms")

    @property
    def status_of_unknown_models(self) -> int:
        """`unknown_model_status`, or the default of the era."""
        return int(self.unknown_model_status or ("400" if self.is_old else "404"))

    def rpm_of(self, model_id: str) -> int:
        """Return the images per window for this model; 0 means no limit."""
        return self.rpm_by_model.get(model_id, self.rpm)

    def latency_of(self, model_id: str) -> float:
        """Return the mean inference time of this model in seconds, before `speed`."""
        return self.latency_by_model.get(model_id, self.latency_s)


_BY_ERA = frozenset({"rate_headers", "unknown_model_status"})
"""Choices that may be None; the era decides then."""
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "era": ("2026-08", "2026-10"),
    "window": ("fixed", "aligned", "sliding", "token-bucket"),
    "retry_after": ("none", "seconds", "date"),
    "rate_headers": ("seconds", "fractional", "ms", "iso", "duration", "none"),
    "rate_limits_endpoint": ("ok", "forbidden", "wrong"),
    "usage_history_endpoint": ("ok", "forbidden"),
    "styles_shape": ("object", "array"),
    "openai_errors": ("native", "openai"),
    "unknown_model_status": ("400", "404"),
    "draw": ("art", "plain"),
}
