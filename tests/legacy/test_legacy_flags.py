"""The original's flags: what each means for a run, what is split, said and refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from seed_commands import TRAINING, words_of

from textreg.errors import UserError
from textreg.legacy import sample, train
from textreg.legacy.command import in_flags, read_command
from textreg.legacy.flags import FLAGS, split_glued
from textreg.legacy.train import main

# FORMATS 8: both published versions together.
DOCUMENTED = """
    pretrained_model_name_or_path pretrained_vae_name_or_path revision tokenizer_name
    instance_data_dir class_data_dir prompts_file placeholder_token class_tokens learnable_property
    with_prior_preservation prior_loss_weight output_dir output_format seed resolution center_crop
    train_text_encoder train_batch_size num_train_epochs max_train_steps save_steps
    gradient_accumulation_steps gradient_checkpointing lora_rank learning_rate learning_rate_text
    learning_rate_ti ti_train_step scale_lr local_rank lr_scheduler lr_warmup_steps use_8bit_adam
    adam_beta1 adam_beta2 adam_weight_decay adam_epsilon max_grad_norm logging_dir mixed_precision
    just_ti cached_latents enable_text_reg filter_crossattn_str text_reg_alpha_weight
    text_reg_beta_weight resume_ti_embedding_path init_placeholder_as_class
    mask_identifier_causal_attention mask_identifier_ratio log_evaluation log_evaluation_step
    local_files_only color_jitter resize use_xformers stochastic_attribute num_class_images
    sample_batch_size push_to_hub hub_token ti_reg_type ti_text_reg_alpha_weight ti_reg_texts_file
    reg_prompts enable_norm_reg norm_reg_alpha_weight enable_ewc_reg ewc_epochs
"""


def command(*more: str) -> list[str]:
    return [
        "--pretrained_model_name_or_path=models/stable-diffusion-v1-5",
        "--instance_data_dir=cat",
        "--placeholder_token=<krk1>",
        "--class_tokens=cat",
        "--max_train_steps=2000",
        *more,
    ]


def test_every_documented_flag_is_known() -> None:
    assert {f"--{name}" for name in DOCUMENTED.split()} == set(FLAGS)


def test_the_documented_command_means_what_it_says() -> None:
    script, *words = words_of(TRAINING)
    assert script == "training_scripts/train_lora_w_ti.py"
    meant = read_command(words)
    run = meant.run
    assert run.base == "models/stable-diffusion-v1-5"
    assert run.out == Path("logs/cat/2023-11-16T23-07-45_cat_textReg")
    assert run.concepts[0].images == Path("custom_datasets/data/cat")
    assert run.concepts[0].words == "<krk1> cat"
    assert (run.inversion.steps, run.tuning.steps) == (500, 1500)
    assert run.inversion.learning_rate == 5e-4
    assert run.tuning.learning_rate == pytest.approx(4e-4)
    assert (run.inversion.warmup_steps, run.tuning.warmup_steps) == (10, 10)
    assert (run.optimizer.batch_size, run.optimizer.accumulation) == (1, 4)
    assert (run.tuning.rank, run.tuning.max_grad_norm) == (10, 1.0)
    assert (run.prior, run.mask.ratio, run.dtype) == ("textreg", 0.5, "bf16")
    assert (run.textreg.class_weight, run.textreg.edit_weight) == (0.01, 0.01)
    assert (run.textreg.edit_prompts, run.textreg.class_templates) == ("instance", "one")
    assert not run.textreg.null_prompt
    assert run.images.center_crop
    assert run.images.jitter
    assert run.images.flip
    assert run.images.views is None
    assert run.images.resolution == 512
    assert meant.weights(2000).name == "lora_weight_s2000.safetensors"
    split = [line for line in meant.lines if "a blank is missing" in line]
    assert ["--class_tokens" in split[0], "--ti_reg_type" in split[1], len(split)] == [
        True,
        True,
        2,
    ]
    assert [line for line in meant.lines if "textreg train --preset original" in line]


def test_defaults_are_the_originals() -> None:
    run = read_command(command()).run
    assert (run.prior, run.mask.ratio) == ("none", 0.0)
    assert (run.tuning.rank, run.optimizer.batch_size, run.save_steps) == (4, 4, 100)
    assert (run.inversion.steps, run.tuning.steps, run.tuning.warmup_steps) == (500, 1500, 0)
    assert (run.tuning.learning_rate, run.dtype, run.images.center_crop) == (1e-4, "fp32", False)
    assert run.out == Path("text-inversion-model")


def test_an_epoch_shows_each_picture_twenty_times(cat_pictures: Path) -> None:
    words = [w for w in command(f"--instance_data_dir={cat_pictures}") if "max_train" not in w]
    # 4 pictures, batches of 4, each added up from 2: 10 steps an epoch.
    run = read_command([*words, "--gradient_accumulation_steps=2", "--num_train_epochs=3"]).run
    assert (run.inversion.steps, run.tuning.steps) == (30, 0)


def test_settings_behind_several_flags() -> None:
    assert read_command(command("--just_ti")).run.tuning.steps == 0
    assert read_command(command("--cached_latents")).run.images.views == 8
    run = read_command(command("--lr_scheduler=linear")).run
    assert (run.tuning.schedule, run.inversion.warmup_steps) == ("linear", 500)
    resumed = read_command(command("--resume_ti_embedding_path=e.safetensors"))
    assert (resumed.run.inversion.steps, resumed.run.tuning.steps) == (0, 1500)
    assert resumed.weights(100).name == "lora_weight_s600.safetensors"
    run = read_command(command("--reg_prompts", "a cat", "photo of cat")).run
    assert run.textreg.class_prompts == ("a {}", "photo of {}")


CLASS_PICTURES = ("--class_data_dir=d", "--prior_loss_weight=0.5", "--prompts_file=f")


def test_class_pictures_keep_the_prior() -> None:
    meant = read_command(command("--with_prior_preservation", *CLASS_PICTURES))
    assert meant.run.prior == "class-images"
    settings = meant.run.class_images
    assert (settings.folder, settings.captions) == (Path("d"), Path("f"))
    assert settings.weight == 0.5
    meant = read_command(command("--with_prior_preservation", "--enable_text_reg"))
    assert meant.run.prior == "textreg+class-images"
    assert meant.run.class_images.folder is None
    assert "--class_data_dir is not given: the base draws the class pictures" in meant.lines
    meant = read_command(command("--with_prior_preservation", "--num_class_images=7"))
    assert meant.run.class_images.count == 7


def test_what_is_read_only_with_text_reg_says_so_without() -> None:
    words = ("--text_reg_alpha_weight=0.1", "--text_reg_beta_weight=0.1", "--reg_prompts", "a cat")
    said = "has no effect: --enable_text_reg is not given"
    lines = read_command(command(*words)).lines
    assert lines == [f"{w.split('=')[0]} {said}" for w in words[:3]]
    assert not [x for x in read_command(command("--enable_text_reg", *words)).lines if said in x]


def test_class_pictures_are_read_only_with_their_switch() -> None:
    meant = read_command(command("--num_class_images=7", *CLASS_PICTURES))
    assert meant.run == read_command(command()).run
    ignored = [line.split()[0] for line in meant.lines if "is not given" in line]
    assert sorted(ignored) == [
        "--class_data_dir",
        "--num_class_images",
        "--prior_loss_weight",
        "--prompts_file",
    ]


@pytest.mark.parametrize("name", sorted(n for n, f in FLAGS.items() if f.note))
def test_dead_flags_are_accepted_with_one_line(name: str) -> None:
    word = name if FLAGS[name].convert is None else f"{name}=1"
    lines = [line for line in read_command(command(word)).lines if name in line]
    assert len(lines) == 1
    assert "has no effect" in lines[0]


@pytest.mark.parametrize(
    "word",
    [
        "--pretrained_vae_name_or_path=vae",
        "--tokenizer_name=t",
        "--train_text_encoder",
        "--enable_norm_reg",
        "--enable_ewc_reg",
        "--filter_crossattn_str=full",
        "--filter_crossattn_str=self",
        "--ti_reg_type=image",
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(word)) == 2
    line = capsys.readouterr().err
    assert word.split("=")[0] in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--lora_rang=3", "did you mean --lora_rank?"),
        ("--learning_rate=fast", "--learning_rate"),
        ("--text_reg_alpha_weight=nan", "is not a number"),
        ("--mixed_precision=int8", "choose from no, fp16, bf16"),
        ("--lora_rank=-1", "--lora_rank"),
        ("--lr_scheduler=polynomial", "choose from constant"),
    ],
)
def test_wrong_words_exit_with_2(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command(word))
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--lora_rank=0"], "--lora_rank is 0"),
        (["--save_steps=0"], "--save_steps is 0"),
        (["--gradient_accumulation_steps=0"], "--gradient_accumulation_steps is 0"),
        (["--class_tokens="], "--class_tokens"),
        (["--placeholder_token=<KRK1>"], "--placeholder_token '<KRK1>' is not lower case"),
        (
            ["--mask_identifier_ratio=2", "--mask_identifier_causal_attention"],
            "--mask_identifier_ratio is 2",
        ),
        (["--max_train_steps=0"], "--max_train_steps"),
        (["--reg_prompts", "a dog"], "--reg_prompts"),
    ],
)
def test_messages_name_the_flags_that_were_typed(words: list[str], flag: str) -> None:
    with pytest.raises(UserError, match=r".") as error:
        read_command(command(*words))
    assert flag in str(error.value)


def test_what_a_run_says_later_is_said_with_these_flags_too() -> None:
    said = "concepts.0.identifier is '<a>' there, '<b>' here; tuning.rank is 2 there, 4 here"
    wanted = "--placeholder_token is '<a>' there, '<b>' here; --lora_rank is 2 there, 4 here"
    said = in_flags(f"logs/cat holds another run: {said}. Choose another --out")
    assert said == f"logs/cat holds another run: {wanted}. Choose another --output_dir"
    assert in_flags(said) == said


def test_pickles_are_not_written_and_said_so() -> None:
    for kind in ("pt", "both"):
        lines = read_command(command(f"--output_format={kind}")).lines
        assert [line for line in lines if "pickles" in line]


def test_only_known_flags_are_split_off() -> None:
    words = ["--resize--seed=3", "--output_dir=logs/a--b", "object--class_tokens=cat", "--seed=1"]
    apart, lines = split_glued(words)
    assert apart == [
        "--resize",
        "--seed=3",
        "--output_dir=logs/a--b",
        "object",
        "--class_tokens=cat",
        "--seed=1",
    ]
    assert len(lines) == 2


def test_reading_flags_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "from textreg.legacy.command import in_flags, read_command\n"
        "from textreg.legacy.sample import parser\n"
        "parser().format_help()\n"
        f"read_command({command()!r})\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(("program", "words"), [(train, command()), (sample, ["--prompts=a cat"])])
def test_versions_and_memory_are_told_as_by_textreg_itself(
    program: Any,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line and exit code 2, before anything is loaded or when there is too little memory."""

    def raised(error: Exception) -> None:
        raise error

    old = UserError("transformers 4.57 is installed")
    for error, line in ((old, "4.57 is installed"), (MemoryError(), "out of memory")):
        monkeypatch.setattr(program, "check_versions", lambda error=error: raised(error))
        assert program.main(words) == 2
        assert line in capsys.readouterr().err
    monkeypatch.setattr(program, "check_versions", lambda: raised(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        program.main(words)
