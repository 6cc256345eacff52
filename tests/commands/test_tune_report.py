"""The printed settings make a server run the chosen candidate."""

import tomllib

from service.commands.tune_report import settings
from service.config.model import ModelConfig
from service.core.tuning import Candidate, Choice, Measured
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.providers import Provider


def test_the_settings_match_the_choice() -> None:
    default = Measured(Candidate(1, 1, 4, Kernels.DEFAULT.value), (1.0,), (1.0,))
    chosen = Measured(Candidate(2, 3, 8, Kernels.EXACT.value), (2.0,), (1.0,))
    config = ModelConfig.model_validate(tomllib.loads(settings(Choice(chosen, default, ""))))
    assert (config.instances.count, config.instances.threads) == (3, 2)
    assert config.batching.preferred_batch_size == 8
    assert config.session.kernels == "exact"


def test_a_chosen_execution_provider_is_a_separate_setting() -> None:
    default = Measured(Candidate(1, 1, 4, Kernels.DEFAULT.value), (1.0,), (1.0,))
    chosen = Measured(Candidate(1, 1, 4, Provider.OPENVINO.value), (2.0,), (1.0,))
    config = ModelConfig.model_validate(tomllib.loads(settings(Choice(chosen, default, ""))))
    assert (config.session.provider, config.session.kernels) == ("openvino", "auto")
