"""Write a diffusers folder as one .safetensors checkpoint with the original programs' keys (LDM).

    python benchmarks/ldm_checkpoint.py models/random-sd15 --out models/random-sd15.safetensors

The names are written out here, the other way round than they are read, and from another source
than diffusers' conversion, so that reading and writing do not share a slip.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def ldm_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a diffusers folder by its name in a checkpoint."""
    found: dict[str, Tensor] = {}
    layers = json.loads((folder / "unet" / "config.json").read_text())["layers_per_block"]
    unet = _weights(folder / "unet")
    for key, tensor in unet.items():
        found[f"model.diffusion_model.{_unet_key(key, layers, unet)}"] = tensor
    vae = _weights(folder / "vae")
    blocks = len(json.loads((folder / "vae" / "config.json").read_text())["up_block_types"])
    for key, tensor in vae.items():
        name = _vae_key(key, blocks)
        pointwise = ".attn_1." in name and tensor.ndim == 2
        found[f"first_stage_model.{name}"] = tensor[:, :, None, None] if pointwise else tensor
    text = _weights(folder / "text_encoder")
    if (folder / "text_encoder_2").is_dir():
        found |= _hugging_face(text, "conditioner.embedders.0.transformer.")
        second = _weights(folder / "text_encoder_2")
        found |= _open_clip(second, "conditioner.embedders.1.model.", None)
    elif json.loads((folder / "text_encoder" / "config.json").read_text())["hidden_act"] == "gelu":
        # The original has one layer more, which is not read.
        found |= _open_clip(text, "cond_stage_model.model.", 7.0)
    else:
        found |= _hugging_face(text, "cond_stage_model.transformer.")
    return found


def _weights(folder: Path) -> dict[str, Tensor]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


def _unet_key(key: str, layers: int, all_keys: dict[str, Tensor]) -> str:
    stem, _, kind = key.rpartition(".")
    if stem in _UNET_TOP:
        return f"{_UNET_TOP[stem]}.{kind}"
    if match := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", stem):
        direction, block, j = match[1], int(match[2]), int(match[4])
        number = (layers + 1) * block + j + (1 if direction == "down" else 0)
        place = f"{'input' if direction == 'down' else 'output'}_blocks.{number}"
        if match[3] == "attentions":
            return f"{place}.1.{match[5]}.{kind}"
        return f"{place}.0.{_RESNET[match[5]]}.{kind}"
    if match := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", stem):
        return f"input_blocks.{(layers + 1) * (int(match[1]) + 1)}.0.op.{kind}"
    if match := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv", stem):
        attends = any(k.startswith(f"up_blocks.{match[1]}.attentions.") for k in all_keys)
        number = (layers + 1) * int(match[1]) + layers
        return f"output_blocks.{number}.{2 if attends else 1}.conv.{kind}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", stem):
        if match[1] == "attentions":
            return f"middle_block.1.{match[3]}.{kind}"
        return f"middle_block.{2 * int(match[2])}.{_RESNET[match[3]]}.{kind}"
    raise ValueError(f"no LDM name for {key}")


def _vae_key(key: str, blocks: int) -> str:
    def block(match: re.Match[str]) -> str:
        n = int(match[3])
        return f"{match[1]}.{match[2]}.{n if match[2] == 'down' else blocks - 1 - n}."

    key = re.sub(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.", block, key)
    key = re.sub(r"((?:down|up)\.\d+)\.resnets\.", r"\1.block.", key)
    key = re.sub(r"(down|up)samplers\.0\.", r"\1sample.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if match := re.fullmatch(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", key):
        return f"{match[1]}.mid.attn_1.{_VAE_ATTENTION[match[2]]}.{match[3]}"
    return key


def _hugging_face(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    found = {
        f"{prefix}text_model.{key.removeprefix('text_model.')}": t for key, t in weights.items()
    }
    count = len(found[f"{prefix}text_model.embeddings.position_embedding.weight"])
    return found | {f"{prefix}text_model.embeddings.position_ids": torch.arange(count)[None]}


def _open_clip(
    weights: dict[str, Tensor], prefix: str, extra_layer: float | None
) -> dict[str, Tensor]:
    weights = {key.removeprefix("text_model."): tensor for key, tensor in weights.items()}
    found = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
        "logit_scale": torch.tensor(4.6),
    }
    if "text_projection.weight" in weights:
        found["text_projection"] = weights["text_projection.weight"].T.contiguous()
    layers = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("encoder.layers."))
    for n in range(layers):
        own, block = f"encoder.layers.{n}.", f"transformer.resblocks.{n}."
        for kind in ("weight", "bias"):
            for theirs, ours in _CLIP_LAYER.items():
                found[f"{block}{ours}.{kind}"] = weights[f"{own}{theirs}.{kind}"]
            joint = [weights[f"{own}self_attn.{x}_proj.{kind}"] for x in "qkv"]
            found[f"{block}attn.in_proj_{kind}"] = torch.cat(joint)
    if extra_layer is not None:
        last = f"transformer.resblocks.{layers - 1}."
        more = {k: v for k, v in found.items() if k.startswith(last)}
        for key, tensor in more.items():
            name = key.replace(last, f"transformer.resblocks.{layers}.")
            found[name] = torch.full_like(tensor, extra_layer)
    return {prefix + key: tensor for key, tensor in found.items()}


def write_checkpoint(
    folder: Path,
    file: Path,
    *,
    metadata: dict[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write the file and return it."""
    tensors = {
        key: tensor.to(dtype if dtype and tensor.is_floating_point() else tensor.dtype).contiguous()
        for key, tensor in ldm_tensors(folder).items()
    }
    save_file(tensors, file, {"format": "pt"} | (metadata or {}))
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prediction-type", choices=("v", "epsilon"))
    arguments = parser.parse_args()
    said = {"modelspec.prediction_type": arguments.prediction_type}
    write_checkpoint(
        arguments.folder, arguments.out, metadata=said if arguments.prediction_type else None
    )
    print(arguments.out)
