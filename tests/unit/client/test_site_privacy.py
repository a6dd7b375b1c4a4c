"""The table [privacy] of a site's TOML: what goes together, and what is said of what does not."""

from typing import Any

import pytest

from fl.client.config import ClientConfig
from fl.errors import ConfigError


def config(*, share_metrics: bool = True, **privacy: Any) -> ClientConfig:
    train = {"path": "train.csv", "target": "label"}
    return ClientConfig.from_params(name="ant", train=train, share_metrics=share_metrics, privacy=privacy)


def test_evaluations_have_no_noise_unless_a_site_says_so() -> None:
    assert config().privacy.metric_noise is None


def test_noise_on_evaluations_needs_to_know_how_far_they_may_go() -> None:
    with pytest.raises(ConfigError, match=r"metric_noise: .* are paid for, one by one: set max_epsilon"):
        config(metric_noise=2.0)

    assert config(metric_noise=2.0, max_epsilon=10.0).privacy.loss_bound == 10.0


@pytest.mark.parametrize(
    "options", [{"metric_noise": 0.0}, {"metric_noise": -1.0}, {"loss_bound": 0.0}, {"loss_bound": float("inf")}]
)
def test_noise_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        config(max_epsilon=10.0, **options)


def test_another_number_of_samples_goes_with_metrics_that_are_kept_or_have_noise() -> None:
    with pytest.raises(ConfigError, match="set share_metrics = false with it, or metric_noise"):
        config(n_samples=100)

    assert config(n_samples=100, share_metrics=False).privacy.n_samples == 100
    assert config(n_samples=100, metric_noise=2.0, max_epsilon=10.0).share_metrics
