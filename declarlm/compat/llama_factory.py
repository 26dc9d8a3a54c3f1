"""LLaMA-Factory's configs, in Declarlm's words."""

from __future__ import annotations

from typing import Any

from declarlm.compat.foreign import Foreign, arithmetic, held_out, instructions, text, warm_up

SAME = {
    "model_name_or_path": "base_model",
    "quantization_bit": "quantization.bits",
    "cutoff_len": "preprocessing.global_max_sequence_length",
    "max_samples": "preprocessing.sample_size",
    "per_device_train_batch_size": "trainer.batch_size",
    "gradient_accumulation_steps": "trainer.gradient_accumulation_steps",
    "learning_rate": "trainer.learning_rate",
    "num_train_epochs": "trainer.epochs",
    "max_steps": "trainer.train_steps",
    "eval_steps": "trainer.eval_steps",
    "save_steps": "trainer.steps_per_checkpoint",
    "max_grad_norm": "trainer.gradient_clipping.clipglobalnorm",
    "seed": "seed",
    "neftune_noise_alpha": "model_parameters.neftune_noise_alpha",
}
LORA = {
    "lora_rank": "adapter.r",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "loraplus_lr_ratio": "adapter.loraplus_lr_ratio",
    "use_rslora": "adapter.use_rslora",
    "use_dora": "adapter.use_dora",
    "adapter_name_or_path": "adapter.pretrained_adapter_weights",
}
OPTIMIZERS = {"adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_bnb_8bit": "adamw_8bit"}
SCHEDULES = {"constant_with_warmup": "constant", "inverse_sqrt": "inverse_sqrt"}
STAGES = {"sft": "finetune", "pt": "pretrain", "dpo": "dpo", "kto": "kto"}
AUTOMATIC = (
    "packing",
    "neat_packing",
    "flash_attn",
    "preprocessing_num_workers",
    "dataloader_num_workers",
    "train_on_prompt",
)
FILES = (
    "output_dir",
    "overwrite_output_dir",
    "overwrite_cache",
    "save_only_model",
    "plot_loss",
    "resume_from_checkpoint",
)
LOGS = ("logging_steps", "report_to", "run_name", "logging_dir", "eval_strategy", "evaluation_strategy")
TASKS = ("do_train", "do_eval", "do_predict", "trust_remote_code", "template", "per_device_eval_batch_size")
SPREAD = ("deepspeed", "fsdp", "ddp_timeout", "ddp_find_unused_parameters")


def read_llama_factory(foreign: Foreign) -> None:
    """Write what the config asks for into the result, and notes on what it cannot."""
    epochs = foreign.data.get("num_train_epochs")
    if isinstance(epochs, float):
        foreign.data["num_train_epochs"] = max(1, round(epochs))
    foreign.move(SAME)
    _method(foreign)
    _stage(foreign)
    optimizer, schedule = foreign.take("optim"), foreign.take("lr_scheduler_type")
    foreign.put("trainer.optimizer.type", optimizer and OPTIMIZERS.get(str(optimizer), str(optimizer)))
    foreign.put("trainer.learning_rate_scheduler.type", schedule and SCHEDULES.get(str(schedule), str(schedule)))
    warm_up(foreign, foreign.take("warmup_steps"), foreign.take("warmup_ratio"))
    arithmetic(foreign)
    held_out(foreign, foreign.take("val_size"))
    foreign.leave(AUTOMATIC, "rows are packed where that pays, answers alone are learned, and the fastest way is taken")
    foreign.leave(FILES, "declarlm train --output and --name say where a run is kept")
    foreign.leave(LOGS, "every run keeps its own log, and is evaluated after each epoch or trainer.eval_steps")
    foreign.leave(TASKS, "the verb says what is done, and prompts go through the model's own chat template")
    foreign.leave(SPREAD, "declarlm train --backend ray uses several GPUs")
    foreign.leave_rest("LLaMA-Factory")


def _method(foreign: Foreign) -> None:
    method = foreign.take("finetuning_type", "lora")
    target = foreign.take("lora_target")
    if method == "lora":
        quantized = foreign.result.get("quantization", {}).get("bits") == 4
        foreign.put("adapter.type", "qlora" if quantized else "lora")
        foreign.move(LORA)
        if isinstance(target, str):
            target = "auto" if target == "all" else [name.strip() for name in target.split(",")]
        foreign.put("adapter.target_modules", target)
        if foreign.take("pissa_init"):
            foreign.put("adapter.init_lora_weights", "pissa")
    elif method == "freeze":
        foreign.put("adapter.type", "last_layers")
        foreign.put("adapter.k", foreign.take("freeze_trainable_layers", 2))
    elif method == "oft":
        foreign.put("adapter.type", "oft")
        foreign.put("adapter.oft_block_size", foreign.take("oft_block_size"))
    elif method != "full":
        foreign.note(
            f"finetuning_type: {method!r} has no counterpart; write an adapter that declarlm list adapters names"
        )
    foreign.leave(("additional_target", *LORA), "it has no counterpart")


def _stage(foreign: Foreign) -> None:
    stage = foreign.take("stage", "sft")
    loss = foreign.take("pref_loss", "sigmoid")
    name: Any = STAGES.get(str(stage))
    if stage == "dpo" and loss in ("orpo", "ipo", "hinge"):
        name = "orpo" if loss == "orpo" else "dpo"
        foreign.put("trainer.loss_type", None if loss == "orpo" else loss)
    elif name is None:
        foreign.note(f"stage: {stage!r} has no counterpart; choose a trainer.type that declarlm list objectives names")
    elif stage == "dpo" and loss != "sigmoid":
        foreign.note(f"pref_loss: {loss!r} has no counterpart; sigmoid is kept")
    foreign.put("trainer.type", name)
    foreign.put("trainer.beta", foreign.take("pref_beta"))
    foreign.leave(("pref_ftx", "simpo_gamma", "ref_model"), "it has no counterpart")
    dataset = foreign.take("dataset")
    if dataset:
        foreign.note(f"dataset: the rows of {dataset} go on the command line: --dataset FILE, as columns")
        if name == "finetune":
            features = "input_features: [{name: conversations, type: conversation}], output_features: [{name: reply, "
            foreign.note(f"dataset: for rows of sharegpt format write {features}type: text}}] and no prompt.template")
    foreign.leave(("dataset_dir", "eval_dataset", "mix_strategy", "interleave_probs"), "rows are one table")
    if name == "pretrain":
        foreign.put("input_features", [text("text")])
    elif name in ("dpo", "orpo"):
        foreign.put("input_features", [text("instruction")])
        foreign.put("output_features", [text("chosen")])
    elif name == "kto":
        foreign.put("input_features", [text("instruction")])
        foreign.put("output_features", [text("output")])
        foreign.put("trainer.label_column", "kto_tag")
    else:
        instructions(foreign, "instruction", "input", "output")
