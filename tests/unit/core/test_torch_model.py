"""Torch models: weights and their roles, buffers, losses, labels, predictions, and what people are told."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fl.core.data_info import DataInfo
from fl.core.dataset.api import Batch
from fl.core.device import DevicePolicy
from fl.core.layout import Role
from fl.core.model.torch import TorchModel
from fl.core.optimizer import Optimizer
from fl.core.state import pack_state, unpack_state
from fl.core.vector import NumpyVector
from fl.errors import ConfigError, DataError, ModelError
from tests.unit.core.torch_zoo import ZOO, make, on_cpu, samples

CROSS = nn.CrossEntropyLoss()


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


def normed(buffers: Any = "average") -> TorchModel:
    """A model with BatchNorm and a frozen bias."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)).double()
    module[3].bias.requires_grad_(False)
    return TorchModel(module, CROSS, buffers=buffers)


def train(model: TorchModel, steps: int = 3) -> None:
    for _ in range(steps):
        Optimizer(0.1).run_train_step(model, samples((6,)))


def roles(model: TorchModel) -> dict[str, Role]:
    return {spec.name: spec.role for spec in model.get_weights().layout.specs}


def test_tensors_come_by_role() -> None:
    assert roles(normed()) == {
        "0.weight": Role.TRAINABLE,
        "0.bias": Role.TRAINABLE,
        "1.weight": Role.TRAINABLE,
        "1.bias": Role.TRAINABLE,
        "3.weight": Role.TRAINABLE,
        "1.running_mean": Role.BUFFER,
        "1.running_var": Role.BUFFER,
        "3.bias": Role.FIXED,
        "1.num_batches_tracked": Role.FIXED,
    }


@pytest.mark.parametrize("policy", ["local", "frozen"])
def test_statistics_that_are_not_shared_are_sent_once(policy: str) -> None:
    assert roles(normed(policy))["1.running_mean"] is Role.FIXED


@pytest.mark.parametrize("name", ZOO)
def test_weights_written_are_those_read(name: str) -> None:
    model, other = (TorchModel(make(name, seed), CROSS) for seed in (0, 1))
    other.set_weights(model.get_weights().to_numpy())
    assert other.get_weights().to_numpy() == model.get_weights().to_numpy()


@pytest.mark.parametrize("kept", [(Role.TRAINABLE,), (Role.TRAINABLE, Role.BUFFER), (Role.FIXED,)])
def test_tensors_of_some_roles_are_written_and_the_rest_stays(kept: tuple[Role, ...]) -> None:
    model, source = normed(), normed()
    train(source)
    before, given = model.get_weights(), source.get_weights().select(*kept)
    model.set_weights(given.to_numpy())
    after = model.get_weights().arrays()
    for name, role in roles(model).items():
        expected = source.get_weights() if role in kept else before
        assert torch.equal(after[name], expected.arrays()[name])


def test_weights_read_are_a_copy() -> None:
    model = normed()
    before = model.get_weights()
    saved = before.to_numpy().copy()
    train(model)
    assert before.to_numpy() == saved


def test_the_view_of_the_trainable_weights_follows_them() -> None:
    model = normed()
    view = model.trainable_view()
    train(model)
    assert view.to_numpy() == model.get_weights(trainable=True).to_numpy()


def test_weights_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"tensor '0.weight' differs"):
        normed().set_weights(NumpyVector.from_arrays({"0.weight": np.zeros((4, 5))}), trainable=True)


def test_the_users_module_and_loss_stay_as_they_are() -> None:
    module, loss = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), nn.CrossEntropyLoss()
    before = {name: item.clone() for name, item in module.state_dict().items()}
    model = TorchModel(module, loss, buffers="frozen")
    train(model)
    assert all(torch.equal(item, before[name]) for name, item in module.state_dict().items())
    assert all(item.grad is None for item in module.parameters())
    assert (loss.reduction, module.training, module[1].training) == ("mean", True, True)


def test_a_copy_of_a_model_trains_by_itself() -> None:
    # Given a model that has trained, clipped and plain, and its copy
    model = TorchModel(make("mlp"), CROSS)
    model.initialize(DataInfo(9, n_features=6))
    model.compute_batch_gradients(samples((6,)), 1.0)
    before, twin = model.get_weights().to_numpy(), copy.deepcopy(model)
    # When both train the same way, the copy first
    train(twin)
    assert model.get_weights().to_numpy() == before
    train(model)
    # Then they come to the same weights
    assert twin.get_weights().to_numpy() == model.get_weights().to_numpy() != before
    mine, its = (one.compute_batch_gradients(samples((6,)), 1.0).to_numpy().flat for one in (model, twin))
    assert np.array_equal(mine, its)


def test_averaged_statistics_change_with_training_and_travel() -> None:
    model = normed()
    before = model.get_weights().arrays()["1.running_mean"]
    train(model)
    assert not torch.equal(model.get_weights().arrays()["1.running_mean"], before)


def test_frozen_statistics_stay_what_they_were() -> None:
    model = normed("frozen")
    before = model.get_weights().select(Role.FIXED).to_numpy()
    train(model)
    assert model.get_weights().select(Role.FIXED).to_numpy() == before


def test_statistics_of_a_site_come_back_from_its_state() -> None:
    # Given a model that has trained, and another that has not
    model, other = normed("local"), normed("local")
    train(model)
    # When the other takes its state, as it is stored
    other.set_state(unpack_state(pack_state(model.get_state())))
    # Then it has its statistics and its counter
    assert other.get_weights().select(Role.FIXED).to_numpy() == model.get_weights().select(Role.FIXED).to_numpy()


def test_a_state_of_another_model_is_refused_and_changes_nothing() -> None:
    model = normed("local")
    state = model.get_state()
    wrong = {"buffers": {**state["buffers"], "1.running_var": np.zeros(7)}}
    wrong["buffers"]["1.running_mean"] = np.ones(4)
    with pytest.raises(ValueError, match=r"'1.running_var' has shape \(4,\), but the state's has \(7,\)"):
        model.set_state(wrong)
    assert not model.get_state()["buffers"]["1.running_mean"].any()


def test_a_model_without_buffers_keeps_no_state() -> None:
    assert TorchModel(make("mlp"), CROSS).get_state() == {}


class Replacing(nn.Module):
    """Replaces its buffer where others write into theirs."""

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("cache", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = self.mean + x.mean(0)
        scores: torch.Tensor = self.head(x - self.mean)
        return scores


def test_a_buffer_that_is_replaced_travels_like_one_that_is_written_into() -> None:
    model, batch = TorchModel(Replacing().double(), CROSS), samples((6,))
    model.compute_batch_gradients(batch)
    np.testing.assert_allclose(model.get_weights().to_numpy().arrays()["mean"], batch.x.mean(0))


def test_a_buffer_that_is_replaced_can_be_written() -> None:
    model, batch = TorchModel(Replacing().double(), CROSS), samples((6,))
    start = model.get_weights()
    expected = model.forward(batch)
    model.compute_batch_gradients(batch)
    model.set_weights(start)
    assert torch.equal(model.forward(batch), expected)


def test_buffers_that_a_state_dict_leaves_out_are_left_out() -> None:
    assert "cache" not in TorchModel(Replacing(), CROSS).get_weights().layout.names


def test_the_same_round_again_gives_the_same_bits() -> None:
    ends = []
    for _ in range(2):
        model = normed()
        model.start_round(np.random.default_rng(5))
        train(model)
        ends.append(model.get_weights().to_numpy())
    assert ends[0] == ends[1]


def test_another_round_draws_otherwise() -> None:
    ends = []
    for round_ in range(2):
        model = normed()
        model.start_round(np.random.default_rng(round_))
        train(model)
        ends.append(model.get_weights().to_numpy())
    assert ends[0] != ends[1]


def test_evaluation_drops_nothing() -> None:
    model = normed()
    model.compute_batch_gradients(samples((6,)))
    assert torch.equal(model.forward(samples((6,))), model.forward(samples((6,))))


@pytest.mark.parametrize("make_loss", [nn.CrossEntropyLoss, nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.MultiMarginLoss])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_losss_reduction_is_that_of_one_sample(make_loss: Any, reduction: str) -> None:
    loss, raw = make_loss(reduction=reduction), torch.randn(5, 3)
    classes = make_loss in {nn.CrossEntropyLoss, nn.MultiMarginLoss}
    y = torch.tensor([0, 2, 1, 1, 0]) if classes else torch.randn(5, 3)
    model = TorchModel(nn.Linear(2, 3), make_loss(reduction=reduction))
    expected = [loss(raw[i : i + 1], y[i : i + 1]).item() for i in range(5)]
    np.testing.assert_allclose(model.loss_function(y.numpy(), raw), expected, rtol=1e-6)


def test_positions_to_ignore_are_left_out_of_a_samples_mean() -> None:
    loss, raw, y = nn.CrossEntropyLoss(ignore_index=0), torch.randn(4, 3, 5), torch.randint(0, 3, (4, 5))
    y[:, 0] = 1
    model = TorchModel(nn.Linear(2, 3), loss)
    expected = [loss(raw[i : i + 1], y[i : i + 1]).item() for i in range(4)]
    np.testing.assert_allclose(model.loss_function(y.numpy(), raw), expected, rtol=1e-6)


class Scalar(nn.Module):
    def forward(self, raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((raw - y) ** 2).mean()


def test_a_loss_without_a_value_for_each_sample_is_refused_with_advice() -> None:
    with pytest.raises(ModelError, match=r"loss Scalar gives \(\) for 2 samples.*`reduction`"):
        TorchModel(nn.Linear(6, 1), Scalar()).initialize(DataInfo(9, input_shape=(0, 6)))


class Learning(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def test_a_loss_that_learns_is_refused() -> None:
    with pytest.raises(ModelError, match="make them part of the model"):
        TorchModel(nn.Linear(6, 1), Learning())


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
@pytest.mark.parametrize("raw_shape", [(2,), (2, 1)])
def test_a_column_and_a_row_of_targets_are_compared_and_not_broadcast(
    shape: tuple[int, ...], raw_shape: tuple[int, ...]
) -> None:
    model = TorchModel(nn.Linear(2, 1), nn.MSELoss())
    y, raw = np.array([1.5, 3.0]).reshape(shape), torch.tensor([0.5, 1.0]).reshape(raw_shape)
    assert model.loss_function(y, raw).tolist() == [1.0, 4.0]


def test_targets_of_another_width_are_refused() -> None:
    with pytest.raises(DataError, match=r"targets of shape \(2, 3\) do not fit outputs of shape \(2, 1\)"):
        TorchModel(nn.Linear(2, 1), nn.MSELoss()).loss_function(np.zeros((2, 3)), torch.zeros(2, 1))


@pytest.mark.parametrize("classes", [("no", "yes"), (1, 2), (-1, 1), (0, 1)])
def test_a_loss_of_signs_sees_them(classes: tuple[int | str, ...]) -> None:
    # the loss is log(1 + exp(-s)) for the second class, and log(1 + exp(s)) for the first
    model = TorchModel(nn.Linear(6, 1), nn.SoftMarginLoss())
    model.initialize(DataInfo(9, input_shape=(0, 6), classes=classes))
    losses = model.loss_function(np.array(classes), torch.tensor([[2.0], [2.0]]))
    np.testing.assert_allclose(losses, np.log1p(np.exp([2.0, -2.0])), rtol=1e-6)


@pytest.mark.parametrize(
    ("classes", "labels"), [(("a", "b", "c"), ["a", "z"]), ((0, 1, 2), [0, 7]), ((0, 1, 2), [0, -1]), (None, [1, 3])]
)
def test_a_label_that_is_no_class_is_named(classes: Any, labels: list[Any]) -> None:
    model = TorchModel(make("mlp"), CROSS)
    model.initialize(DataInfo(9, input_shape=(0, 6), classes=classes))
    for max_norm in (None, 1.0) if classes else (None,):
        with pytest.raises(DataError, match=f"label {labels[1]!r} is "):
            model.compute_batch_gradients(Batch(np.zeros((2, 6)), np.array(labels)), max_norm)


def test_a_label_beyond_a_binary_losss_is_named() -> None:
    with pytest.raises(DataError, match=r"label 2 is not within 0 and 1.*expose_classes=True"):
        TorchModel(nn.Linear(6, 1), nn.BCEWithLogitsLoss()).loss_function(np.array([1, 2]), torch.zeros(2, 1))


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_that_are_whole_floats_are_labels(shape: tuple[int, ...]) -> None:
    model, raw = TorchModel(make("mlp"), CROSS), torch.randn(3, 3)
    floats = np.array([0.0, 2.0, 1.0]).reshape(shape)
    assert (model.loss_function(floats, raw) == model.loss_function(np.array([0, 2, 1]), raw)).all()


def test_labels_that_are_other_floats_are_named() -> None:
    with pytest.raises(DataError, match=r"label 0.5 is not a whole number"):
        TorchModel(make("mlp"), CROSS).loss_function(np.array([1.0, 0.5]), torch.zeros(2, 3))


def test_cross_entropy_takes_probabilities_by_class() -> None:
    raw, y = torch.randn(4, 3), torch.rand(4, 3)
    expected = nn.CrossEntropyLoss(reduction="none")(raw, y)
    np.testing.assert_allclose(TorchModel(make("mlp"), CROSS).loss_function(y.numpy(), raw), expected)


def test_text_without_known_classes_is_refused_with_advice() -> None:
    with pytest.raises(DataError, match=r"label 'cat' is no number.*expose_classes=True"):
        TorchModel(make("mlp"), CROSS).loss_function(np.array(["cat"]), torch.zeros(1, 3))


def test_samples_without_a_target_are_refused() -> None:
    with pytest.raises(DataError, match="no target"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((2, 6))))


def test_a_label_beyond_the_models_outputs_is_told_when_clipping_too() -> None:
    with pytest.raises(DataError, match="not among those that the model tells apart: Target 7"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((1, 6)), np.array([7])), 1.0)


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("n", [1, 3])
def test_as_many_targets_as_samples_are_needed(n: int, max_norm: float | None) -> None:
    with pytest.raises(DataError, match=rf"targets of shape \({n},\) came with 2 samples"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((2, 6)), np.zeros(n, int)), max_norm)


def test_as_many_weights_as_samples_are_needed() -> None:
    with pytest.raises(DataError, match="3 sample weights came with 2 samples"):
        TorchModel(make("mlp"), CROSS).compute_batch_gradients(Batch(np.zeros((2, 6)), np.zeros(2, int), np.ones(3)))


def test_scores_are_probabilities_by_class() -> None:
    model = TorchModel(nn.Linear(2, 3), CROSS)
    scores = model.to_predictions(torch.tensor([[0.0, np.log(2), 0.0]]))
    np.testing.assert_allclose(scores, [[0.25, 0.5, 0.25]], rtol=1e-6)


def test_a_binary_prediction_is_the_probability_of_the_second_class() -> None:
    model = TorchModel(nn.Linear(2, 1), nn.BCEWithLogitsLoss())
    np.testing.assert_allclose(model.to_predictions(torch.tensor([[0.0], [np.log(3)]])), [0.5, 0.75], rtol=1e-6)


def test_other_predictions_are_the_outputs() -> None:
    assert TorchModel(nn.Linear(2, 1), nn.MSELoss()).to_predictions(torch.tensor([[3.0]])).tolist() == [3.0]


@pytest.mark.parametrize("method", ["forward", "compute_batch_gradients"])
def test_samples_of_another_shape_are_told_in_words(method: str) -> None:
    model = TorchModel(make("mlp"), CROSS)
    model.initialize(DataInfo(9, input_shape=(0, 6)))
    with pytest.raises(DataError, match=r"samples of shape \(8,\), while those of the data info are of shape \(6,\)"):
        getattr(model, method)(Batch(np.zeros((2, 8)), np.zeros(2, int)))


@pytest.mark.parametrize("method", ["forward", "compute_batch_gradients"])
def test_features_that_are_nan_are_told_in_words(method: str) -> None:
    with pytest.raises(DataError, match="features that are NaN or infinite"):
        getattr(TorchModel(make("mlp"), CROSS), method)(Batch(np.full((2, 6), np.nan), np.zeros(2, int)))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss()])
def test_targets_that_are_nan_are_told_in_words(loss: nn.Module) -> None:
    with pytest.raises(DataError, match="targets that are NaN or infinite"):
        TorchModel(nn.Linear(6, 1), loss).compute_batch_gradients(Batch(np.zeros((2, 6)), np.full(2, np.nan)))


def test_text_among_the_features_is_told_in_words() -> None:
    with pytest.raises(DataError, match="encode them as numbers"):
        TorchModel(make("mlp"), CROSS).forward(Batch(np.array([["a"] * 6])))


def test_arrays_that_torch_cannot_share_are_copied() -> None:
    model, x = TorchModel(make("mlp"), CROSS), samples((6,)).x
    locked = x.copy()
    locked.flags.writeable = False
    variants = [locked, x[::-1][::-1], x.astype(">f8"), torch.from_numpy(x)]
    assert all(torch.equal(model.forward(Batch(one)), model.forward(Batch(x))) for one in variants)


@pytest.mark.parametrize(
    ("data_info", "message"),
    [
        (DataInfo(9, input_shape=(0, 8)), r"does not run on samples of shape \(8,\)"),
        (DataInfo(9, n_features=8), r"does not run on samples of shape \(8,\)"),
        (DataInfo(9, n_features=6, classes=(0, 1, 2, 3)), r"4 classes.*tell 3 apart"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_at_the_start(data_info: DataInfo, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        TorchModel(make("mlp"), CROSS).initialize(data_info)


def test_token_embeddings_are_tried_with_whole_numbers() -> None:
    module = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    TorchModel(module, CROSS).initialize(DataInfo(9, input_shape=(0, 2), classes=(0, 1, 2)))


def test_trying_a_model_out_leaves_torchs_generator_as_it_was() -> None:
    model = TorchModel(make("mlp"), CROSS)
    before = torch.get_rng_state()
    model.initialize(DataInfo(9, n_features=6))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(2, 1).bfloat16(), 'model.float.*autocast="bfloat16"'),
        (nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1).double()), r"float32 \(0.weight\) and float64 \(1.weight\)"),
        (nn.Linear(2, 1).requires_grad_(False), "every parameter of this module is frozen"),
        (nn.Linear(2, 1, dtype=torch.complex64), "complex64"),
        ("a module", r"give a torch.nn.Module, not str"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused_with_advice(module: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        TorchModel(module, nn.MSELoss())


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")  # which we refuse
def test_a_lazy_module_that_never_ran_is_refused_with_advice() -> None:
    with pytest.raises(ModelError, match="run the module once on a sample"):
        TorchModel(nn.LazyLinear(2), CROSS)


@pytest.mark.parametrize("options", [{"buffers": "mean"}, {"autocast": "float16"}])
def test_options_that_do_not_exist_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"torch: {next(iter(options))} is"):
        TorchModel(make("mlp"), CROSS, **options)


@pytest.mark.parametrize("max_norm", [None, 10.0])
def test_autocast_computes_in_bfloat16_and_keeps_gradients_as_they_are(max_norm: float | None) -> None:
    plain, model = TorchModel(make("mlp").float(), CROSS), TorchModel(make("mlp").float(), CROSS, autocast="bfloat16")
    batch = samples((6,))
    expected, found = (one.compute_batch_gradients(batch, max_norm).to_numpy().flat for one in (plain, model))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.02


# torch's own compiler imports a module that warns of its age
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_model_computes_the_same_and_its_statistics_too() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    plain, model = TorchModel(module, CROSS), TorchModel(module, CROSS, compile=True)
    train(plain)
    train(model)
    ends = [one.get_weights().to_numpy() for one in (plain, model)]
    np.testing.assert_allclose(ends[0].flat, ends[1].flat, atol=1e-6)


@pytest.mark.parametrize("policy", [DevicePolicy(gpu=False)] + [DevicePolicy()] * torch.cuda.is_available())
def test_a_model_moves_with_all_it_has_and_goes_on(policy: DevicePolicy) -> None:
    model = normed()
    train(model)
    before = model.get_weights().to_numpy()
    model.update_device_policy(policy)
    assert model.get_weights().to_numpy() == before
    train(model)
    assert model.get_weights().device.type == ("cuda" if policy.gpu else "cpu")


def test_a_gpu_that_torch_does_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"H{index}")
    with pytest.raises(ConfigError, match=r"torch sees no GPU of idx=2; those that it sees: 0 \(H0\), 1 \(H1\)"):
        TorchModel(make("mlp"), CROSS).update_device_policy(DevicePolicy(idx=2))


def test_without_a_gpu_a_policy_that_wants_one_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    TorchModel(make("mlp"), CROSS).update_device_policy(DevicePolicy())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
