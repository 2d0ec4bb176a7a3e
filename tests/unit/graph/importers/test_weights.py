from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from edgekit.errors import InputError, UsageError
from edgekit.graph.importers.weights import load_weights, read_state_dict, refuse_nan


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)


def _trained() -> _Net:
    torch.manual_seed(1)
    return _Net()


def _equal(left: nn.Module, right: nn.Module) -> bool:
    expected = right.state_dict()
    return all(torch.equal(item, expected[name]) for name, item in left.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".safetensors"])
def test_every_format_loads(tmp_path: Path, suffix: str) -> None:
    trained, path = _trained(), tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(trained.state_dict(), path)
    else:
        torch.save(trained.state_dict(), path)
    module = _Net()
    load_weights(module, path)
    assert _equal(module, trained)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_nested_state_dicts_and_the_prefix_of_parallel_training(tmp_path: Path, key: str) -> None:
    trained, path = _trained(), tmp_path / "w.pth"
    state = {f"module.{name}": item for name, item in trained.state_dict().items()}
    torch.save({key: state, "epoch": 3, "accuracy": 0.9}, path)
    module = _Net()
    load_weights(module, path)
    assert _equal(module, trained)


def test_a_checkpoint_without_batch_counters_loads(tmp_path: Path) -> None:
    state = {name: item for name, item in _trained().state_dict().items() if "tracked" not in name}
    torch.save(state, tmp_path / "w.pth")
    load_weights(_Net(), tmp_path / "w.pth")


def test_everything_that_does_not_fit_is_listed_at_once(tmp_path: Path) -> None:
    state = _trained().state_dict()
    del state["conv.bias"]
    state["head.weight"] = torch.zeros(3)
    state["norm.weight"] = torch.zeros(5)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError) as caught:
        load_weights(_Net(), tmp_path / "w.pth")
    message = str(caught.value)
    assert "do not fit _Net" in message
    assert "missing in the file: conv.bias" in message
    assert "unknown to the model: head.weight" in message
    assert "of another shape: norm.weight (file 5, model 2)" in message


def test_a_module_is_not_half_loaded(tmp_path: Path) -> None:
    state = _trained().state_dict()
    state["norm.weight"] = torch.zeros(5)
    torch.save(state, tmp_path / "w.pth")
    module = _Net()
    before = {name: item.clone() for name, item in module.state_dict().items()}
    with pytest.raises(InputError):
        load_weights(module, tmp_path / "w.pth")
    assert all(torch.equal(before[name], item) for name, item in module.state_dict().items())


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code was run",)


def test_code_in_a_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pth"
    torch.save({"weight": _Evil()}, path)
    with pytest.raises(InputError, match=r"pickled objects besides tensors.*state_dict\(\), path"):
        read_state_dict(path)
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(InputError):
        read_state_dict(path)
    assert capsys.readouterr().out == ""


def test_a_whole_pickled_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(_trained(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"Save the tensors alone: torch\.save"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 cut off"])
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.(pth|safetensors)"):
        read_state_dict(path)


def test_files_cut_off(tmp_path: Path) -> None:
    torch.save(_trained().state_dict(), tmp_path / "w.pth")
    safetensors.torch.save_file(_trained().state_dict(), tmp_path / "w.safetensors")
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(InputError, match=r"is no .* file or is"):
            read_state_dict(path)


def test_missing_files_unknown_suffixes_and_other_contents(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No weights file at .*w\.pth"):
        read_state_dict(tmp_path / "w.pth")
    (tmp_path / "w.h5").touch()
    with pytest.raises(UsageError, match=r"unknown suffix '\.h5'; accepted: \.safetensors, \.pth"):
        read_state_dict(tmp_path / "w.h5")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no state dict but list"):
        read_state_dict(tmp_path / "list.pth")
    torch.save({"lr": 0.1, "w": torch.zeros(1)}, tmp_path / "mixed.pth")
    with pytest.raises(InputError, match="entries that are no tensors: lr"):
        read_state_dict(tmp_path / "mixed.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    module = _trained()
    with torch.no_grad():
        module.norm.running_mean[1] = value  # type: ignore[index]
    with pytest.raises(InputError, match=r"w\.pth holds NaN or infinite weights in norm\.running"):
        refuse_nan(module, "w.pth")
