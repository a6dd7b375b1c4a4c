"""Torch models as configs: by structure, by factory, and by pickle where both sides opt in."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fl.core import doors
from fl.core.dataset.api import Batch
from fl.core.doors import Doors, set_doors
from fl.core.model import Model
from fl.core.model.torch import TorchModel
from fl.errors import ConfigError, ModelError
from tests.unit.core.torch_zoo import Attentive, make, on_cpu

NETS = """\
from torch import nn

def make(width=4):
    return nn.Linear(width, 2)

def make_both(width=4):
    return nn.Linear(width, 1), nn.MSELoss()

def make_nothing():
    return 3
"""


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with factories, installed, and doors as a new process has them."""
    (tmp_path / "torchlab.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doors, "_process", doors._Process(Doors()))
    with on_cpu():
        yield
    sys.modules.pop("torchlab", None)


def sent(config: dict[str, Any]) -> dict[str, Any]:
    """As it comes out at the other side."""
    arrived: dict[str, Any] = json.loads(json.dumps(config, allow_nan=False))
    return arrived


ENCODER = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.2, activation="gelu", batch_first=True, norm_first=True)
LAYERS: list[nn.Module] = [
    nn.Linear(4, 2, bias=False),
    nn.Bilinear(3, 4, 2),
    nn.Conv1d(2, 4, 3, stride=2, padding="valid"),
    nn.Conv2d(4, 8, (3, 5), padding="same", groups=2, padding_mode="circular"),
    nn.Conv3d(1, 2, 3, dilation=2, bias=False),
    nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1),
    nn.Embedding(7, 3, padding_idx=0, max_norm=1.0),
    nn.EmbeddingBag(7, 3, mode="sum"),
    nn.RNN(3, 4, nonlinearity="relu"),
    nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True, proj_size=2, dropout=0.1),
    nn.GRU(3, 4, bias=False),
    nn.LSTMCell(3, 4),
    nn.MultiheadAttention(6, 2, kdim=4, vdim=5, add_bias_kv=True, batch_first=True),
    nn.MultiheadAttention(6, 3, bias=False, add_zero_attn=True),
    ENCODER,
    nn.TransformerEncoder(ENCODER, 2, norm=nn.LayerNorm(6), enable_nested_tensor=False),
    nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8), 2),
    nn.BatchNorm2d(3, momentum=None),
    nn.GroupNorm(2, 4, eps=1e-3),
    nn.LayerNorm([3, 4], bias=False),
    nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
    nn.Linear(4, 2).double(),
    nn.PReLU(3),
    nn.Sequential(nn.Linear(4, 2), nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(0.3)), nn.Linear(2, 1)),
    nn.Sequential(
        *[nn.Linear(4, 4), nn.MaxPool2d((2, 2), stride=1), nn.AvgPool1d(2), nn.AdaptiveAvgPool2d((1, None))],
        *[nn.Flatten(0, 1), nn.Unflatten(1, (2, 2)), nn.Upsample(scale_factor=2, mode="nearest"), nn.PixelShuffle(2)],
        *[nn.Softmax(dim=1), nn.GELU("tanh"), nn.LeakyReLU(0.1), nn.Hardtanh(-2, 2), nn.ELU(0.5), nn.Threshold(1, 2)],
        *[nn.Identity(), nn.ZeroPad2d(1), nn.Softplus(2), nn.GLU(), nn.LocalResponseNorm(2), nn.AlphaDropout(0.1)],
    ),
]


@pytest.mark.parametrize("module", LAYERS, ids=lambda module: type(module).__name__)
def test_a_module_built_of_torchs_layers_is_built_again_from_its_config(module: nn.Module) -> None:
    # Given a model whose config was sent
    model = TorchModel(module, nn.MSELoss())
    # When the other side builds it and takes its weights
    other = TorchModel.from_config(sent(model.get_config()))
    other.set_weights(model.get_weights().to_numpy())
    # Then it is the same model
    assert other.get_config() == model.get_config()
    assert str(other._network.module) == str(module)
    assert other.get_weights().to_numpy() == model.get_weights().to_numpy()


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(reduction="sum"),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]), label_smoothing=0.1, ignore_index=1),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])),
        nn.HuberLoss(delta=0.3),
        nn.SmoothL1Loss(beta=2),
        nn.NLLLoss(),
        nn.KLDivLoss(reduction="batchmean", log_target=True),
        nn.PoissonNLLLoss(full=True),
        nn.MultiMarginLoss(p=2, margin=0.5),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_loss_of_torch_is_built_again_from_its_config(loss: nn.Module) -> None:
    model = TorchModel(nn.Linear(3, 2), loss)
    other = TorchModel.from_config(sent(model.get_config()))
    raw, y = torch.rand(4, 2).log_softmax(1), torch.rand(4, 2).numpy()
    y = y.argmax(1) if isinstance(loss, nn.NLLLoss | nn.CrossEntropyLoss | nn.MultiMarginLoss) else y
    assert (other.loss_function(y, raw) == model.loss_function(y, raw)).all()


def test_options_travel_in_the_config() -> None:
    config = sent(TorchModel(make("mlp"), nn.MSELoss(), buffers="local", autocast="bfloat16").get_config())
    assert (config["buffers"], config["autocast"], config["compile"]) == ("local", "bfloat16", False)
    assert TorchModel.from_config(config).get_config() == config


def test_frozen_parameters_are_frozen_at_the_other_side_too() -> None:
    model = TorchModel(make("frozen"), nn.MSELoss())
    other = TorchModel.from_config(sent(model.get_config()))
    assert other.get_weights().layout == model.get_weights().layout


def test_a_config_is_found_by_the_models_name() -> None:
    config = sent(TorchModel(make("mlp"), nn.MSELoss()).get_config())
    assert isinstance(Model.registry.build({"name": "torch", **config}), TorchModel)


def test_reading_a_config_leaves_torchs_generator_as_it_was() -> None:
    model = TorchModel(make("mlp"), nn.MSELoss())
    before = torch.get_rng_state()
    model.get_config()
    assert torch.equal(torch.get_rng_state(), before)


def tied() -> nn.Module:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.ReLU(), layer)


def hooked() -> nn.Module:
    layer = nn.Linear(3, 3)
    layer.register_forward_hook(lambda _, __, out: 2 * out)
    return layer


def altered() -> nn.Module:
    layer = nn.LayerNorm(3)
    layer.extra = nn.Linear(3, 3)
    return layer


@pytest.mark.parametrize(
    ("make_module", "message"),
    [
        (Attentive, "Attentive, which is no layer of torch.nn"),
        (lambda: nn.Sequential(nn.ReLU(), Attentive()), "layer '1' is a .*Attentive"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "ParametrizedLinear"),
        (tied, "share their parameters"),
        (hooked, r"layer '' \(Linear\) was changed after it was made"),
        (altered, "not all found where its constructors put them"),
    ],
)
def test_what_only_code_can_describe_is_refused_with_both_ways_out(make_module: Any, message: str) -> None:
    with pytest.raises(ModelError, match=rf"{message}.*from_factory.*allow_pickle=True"):
        TorchModel(make_module(), nn.MSELoss()).get_config()


def test_a_config_with_an_unknown_layer_is_refused_with_the_nearest() -> None:
    config = {"model": {"class": "Linaer", "args": {}}, "loss": {"class": "MSELoss", "args": {}}}
    with pytest.raises(ModelError, match=r"no layer 'Linaer'.*did you mean 'Linear'"):
        TorchModel.from_config(config)


@pytest.mark.parametrize("name", ["functional", "init", "Parameter", "__builtins__", "utils"])
def test_a_config_can_name_modules_of_torch_only(name: str) -> None:
    config = {"model": {"class": name, "args": {}}, "loss": {"class": "MSELoss", "args": {}}}
    with pytest.raises(ModelError, match=f"no layer '{name}'"):
        TorchModel.from_config(config)


@pytest.mark.parametrize("broken", [{}, {"class": "Linear"}, {"class": "Linear", "args": {"in_features": 3}}])
def test_a_broken_description_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="cannot be built"):
        TorchModel.from_config({"model": broken, "loss": {"class": "MSELoss", "args": {}}})


def test_an_unknown_option_is_named() -> None:
    config = TorchModel(make("mlp"), nn.MSELoss()).get_config()
    with pytest.raises(ConfigError, match="unknown option 'bufers'; did you mean 'buffers'"):
        TorchModel.from_config({**config, "bufers": "local"})


def test_who_names_a_factory_in_a_program_needs_no_door() -> None:
    model = TorchModel.from_factory("torchlab:make", {"width": 3}, loss=nn.MSELoss())
    assert model.get_weights().layout.specs[0].shape == (2, 3)


def test_a_factory_is_refused_where_it_is_not_allowed() -> None:
    config = sent(TorchModel.from_factory("torchlab:make", loss=nn.MSELoss()).get_config())
    with pytest.raises(ConfigError, match=r'not allowed at this site.*\n\[allow\]\nfactories = \["torchlab:make"\]'):
        TorchModel.from_config(config)


def test_a_factory_is_called_where_it_is_allowed() -> None:
    config = sent(TorchModel.from_factory("torchlab:make", {"width": 3}, loss=nn.MSELoss()).get_config())
    set_doors(Doors(factories=("torchlab:*",)))
    assert TorchModel.from_config(config).get_config() == config


def test_a_factory_may_give_the_loss_too() -> None:
    config = sent(TorchModel.from_factory("torchlab:make_both").get_config())
    assert "loss" not in config
    set_doors(Doors(factories=("torchlab:*",)))
    assert TorchModel.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("path", "loss", "message"),
    [
        ("torchlab:make", None, "no loss"),
        ("torchlab:make_both", nn.MSELoss(), "two losses"),
        ("torchlab:make_nothing", nn.MSELoss(), "gave int where a torch.nn.Module is needed"),
    ],
)
def test_a_factory_that_gives_something_else_is_refused(path: str, loss: nn.Module | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        TorchModel.from_factory(path, loss=loss)


def test_a_config_is_flat_and_may_leave_out_what_has_a_default() -> None:
    set_doors(Doors(factories=("torchlab:*",)))
    model = TorchModel.from_config({"factory": "torchlab:make", "loss": "CrossEntropyLoss"})
    assert model.get_config() == {
        "factory": "torchlab:make",
        "kwargs": {},
        "loss": TorchModel.from_factory("torchlab:make", loss=nn.CrossEntropyLoss()).get_config()["loss"],
        "buffers": "average",
        "autocast": None,
        "compile": False,
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"class": "Identity", "args": {}}}, "torch: option 'loss' is missing"),
        ({"loss": "MSELoss"}, "torch: a model is given by 'model' or by 'factory', and here are neither"),
        ({"model": {}, "factory": "torchlab:make"}, "and here are both"),
        ({"model": {}, "kwargs": {}, "loss": "MSELoss"}, "torch: 'kwargs' are arguments of a factory"),
        ({"factory": "torchlab:make"}, "factory torchlab:make: no loss"),
        ({"factory": "torchlab:make_both", "loss": "MSELoss"}, "factory torchlab:make_both: two losses"),
        ({"facotry": "torchlab:make"}, "torch: unknown option 'facotry'; did you mean 'factory'"),
    ],
)
def test_a_config_that_lacks_something_is_told_in_words(config: dict[str, Any], message: str) -> None:
    set_doors(Doors(factories=("torchlab:*",)))
    with pytest.raises((ConfigError, ModelError), match=message):
        TorchModel.from_config(config)


def test_arguments_that_json_cannot_carry_are_refused() -> None:
    with pytest.raises(ConfigError, match="travel as JSON"):
        TorchModel.from_factory("torchlab:make", {"width": torch.ones(1)}, loss=nn.MSELoss())


def test_a_pickle_that_one_side_wants_is_refused_by_the_other() -> None:
    config = sent(TorchModel(Attentive(), nn.MSELoss(), allow_pickle=True).get_config())
    with pytest.raises(ConfigError, match=r"the model comes as a pickle(.|\n)*pickle = true"):
        TorchModel.from_config(config)


def test_a_pickle_that_both_sides_want_is_loaded_and_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    model = TorchModel(Attentive(), nn.MSELoss(), allow_pickle=True)
    set_doors(Doors(pickle=True))
    other = TorchModel.from_config(sent(model.get_config()))
    batch = Batch(torch.ones(2, 5, 6))
    assert torch.equal(other.forward(batch), model.forward(batch))
    assert [(record.levelno, record.message.split()[0]) for record in caplog.records] == [
        (logging.WARNING, "pickle_written"),
        (logging.WARNING, "pickle_loaded"),
    ]


def test_no_pickle_is_written_where_there_is_another_way() -> None:
    config = TorchModel(make("mlp"), nn.MSELoss(), allow_pickle=True).get_config()
    assert "pickle" not in json.dumps(config)


def test_a_pickle_of_something_else_is_refused() -> None:
    set_doors(Doors(pickle=True))
    config = {"model": {"pickle": "AAAA"}, "loss": {"class": "MSELoss", "args": {}}}
    with pytest.raises(ModelError, match="cannot be loaded here"):
        TorchModel.from_config(config)
