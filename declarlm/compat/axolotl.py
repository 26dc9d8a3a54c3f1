"""Axolotl's configs, in Declarlm's words."""

from __future__ import annotations

from typing import Any

from declarlm.compat.foreign import Foreign, arithmetic, conversation, held_out, instructions, text, warm_up

SAME = {
    "base_model": "base_model",
    "sequence_len": "preprocessing.global_max_sequence_length",
    "micro_batch_size": "trainer.batch_size",
    "gradient_accumulation_steps": "trainer.gradient_accumulation_steps",
    "num_epochs": "trainer.epochs",
    "max_steps": "trainer.train_steps",
    "learning_rate": "trainer.learning_rate",
    "gradient_checkpointing": "trainer.enable_gradient_checkpointing",
    "max_grad_norm": "trainer.gradient_clipping.clipglobalnorm",
    "seed": "seed",
    "neftune_noise_alpha": "model_parameters.neftune_noise_alpha",
    "noisy_embedding_alpha": "model_parameters.neftune_noise_alpha",
}
ADAPTER = {
    "lora_r": "adapter.r",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "lora_target_modules": "adapter.target_modules",
    "peft_use_rslora": "adapter.use_rslora",
    "peft_use_dora": "adapter.use_dora",
    "loraplus_lr_ratio": "adapter.loraplus_lr_ratio",
    "lora_model_dir": "adapter.pretrained_adapter_weights",
}
OPTIMIZERS = {"adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw", "adamw_bnb_8bit": "adamw_8bit"}
SCHEDULES = {"constant_with_warmup": "constant", "rex": "cosine"}
AUTOMATIC = ("sample_packing", "pad_to_sequence_len", "eval_sample_packing", "group_by_length", "train_on_inputs")
OWN = (
    "flash_attention",
    "xformers_attention",
    "sdp_attention",
    "flash_optimum",
    "tf32",
    "load_in_16bit",
    "lora_on_cpu",
)
LOGS = (
    "wandb_project",
    "wandb_entity",
    "wandb_watch",
    "wandb_name",
    "wandb_run_id",
    "wandb_log_model",
    "logging_steps",
)
SAVES = ("output_dir", "dataset_prepared_path", "saves_per_epoch", "save_steps", "save_total_limit", "evals_per_epoch")
HUB = ("hub_model_id", "hub_strategy", "push_dataset_to_hub", "model_type", "tokenizer_type", "is_llama_derived_model")
SPREAD = ("deepspeed", "fsdp", "fsdp_config", "ddp_timeout")
PREFERENCES = ("dpo", "orpo", "kto", "grpo")


def read_axolotl(foreign: Foreign) -> None:
    """Write what the config asks for into the result, and notes on what it cannot."""
    foreign.move(SAME)
    _bits_and_adapter(foreign)
    _rows(foreign)
    _steps(foreign)
    arithmetic(foreign)
    held_out(foreign, foreign.take("val_set_size"))
    foreign.leave(AUTOMATIC, "rows are packed where that pays, and answers alone are learned")
    foreign.leave(OWN, "the fastest way that the machine has is taken")
    foreign.leave(LOGS, "every run keeps its own log")
    foreign.leave(SAVES, "declarlm train --output and --name say where a run is kept")
    foreign.leave(HUB, "it follows from the base model")
    foreign.leave(SPREAD, "declarlm train --backend ray uses several GPUs")
    foreign.leave(("special_tokens", "tokens"), "tokenizers stay as they come, and masks go by position")
    foreign.leave(("default_system_message",), "it is for conversations; write prompt.system")
    foreign.leave(("strict", "debug", "local_rank"), "it has no counterpart")
    foreign.leave_rest("Axolotl")


def _bits_and_adapter(foreign: Foreign) -> None:
    adapter = foreign.take("adapter")
    four, eight = foreign.take("load_in_4bit"), foreign.take("load_in_8bit")
    if adapter in ("lora", "qlora"):
        foreign.put("adapter.type", adapter)
        foreign.move(ADAPTER)
        linear = foreign.take("lora_target_linear")
        if linear and not foreign.result["adapter"].get("target_modules"):
            foreign.put("adapter.target_modules", "auto")
    elif adapter:
        foreign.note(f"adapter: {adapter!r} has no counterpart; write one that declarlm list adapters names")
    if (four or eight) and adapter != "qlora":
        foreign.put("quantization.bits", 4 if four else 8)
    foreign.leave(("lora_fan_in_fan_out", "lora_modules_to_save", *ADAPTER), "it follows from the base model")


def _steps(foreign: Foreign) -> None:
    optimizer = foreign.take("optimizer")
    if optimizer:
        foreign.put("trainer.optimizer.type", OPTIMIZERS.get(str(optimizer), str(optimizer)))
        foreign.put("trainer.optimizer.weight_decay", foreign.take("weight_decay"))
    foreign.leave(("weight_decay",), "it stands in trainer.optimizer")
    schedule = foreign.take("lr_scheduler")
    if schedule:
        foreign.put("trainer.learning_rate_scheduler.type", SCHEDULES.get(str(schedule), str(schedule)))
    warm_up(foreign, foreign.take("warmup_steps"), foreign.take("warmup_ratio"))


def _rows(foreign: Foreign) -> None:
    datasets = foreign.take("datasets") or foreign.take("pretraining_dataset") or []
    datasets = [datasets] if isinstance(datasets, dict) else datasets
    kind = foreign.take("rl")
    if kind in PREFERENCES:
        foreign.put("trainer.type", kind)
        foreign.put("trainer.beta", foreign.take("rl_beta") or foreign.take("dpo_beta"))
    elif kind:
        foreign.note(f"rl: {kind!r} has no counterpart; choose a trainer.type that declarlm list objectives names")
    foreign.leave(("chat_template",), "prompts go through the model's own chat template")
    if len(datasets) > 1:
        paths = ", ".join(str(one.get("path")) for one in datasets if isinstance(one, dict))
        foreign.note(f"datasets: {len(datasets)} of them; lay them below one another in one table ({paths})")
    first = next((one for one in datasets if isinstance(one, dict)), {})
    if first.get("path"):
        foreign.note(f"datasets: its rows go on the command line: --dataset {_address(first)}")
    if kind in PREFERENCES:
        foreign.put("input_features", [text(str(first.get("field_prompt", "prompt")))])
        foreign.put("output_features", [text(str(first.get("field_chosen", "chosen")))])
        foreign.put("trainer.rejected_column", first.get("field_rejected"))
        return
    _format(foreign, first)


def _format(foreign: Foreign, dataset: dict[str, Any]) -> None:
    """Write the features that the format of a dataset stands for."""
    kind = dataset.get("type", "completion")
    name = kind if isinstance(kind, str) else "own"
    if name == "own":
        own, also = str(kind.get("field_instruction", "instruction")), kind.get("field_input")
        instructions(foreign, own, also, str(kind.get("field_output", "output")))
        foreign.put("prompt.system", kind.get("system_prompt") or None)
        if kind.get("format"):
            written = str(kind["format"]).replace("{instruction}", f"{{{{ {own} }}}}")
            foreign.put("prompt.template", written.replace("{input}", f"{{{{ {also or 'input'} }}}}"))
    elif name == "completion":
        foreign.put("trainer.type", "pretrain")
        foreign.put("input_features", [text(str(dataset.get("field") or dataset.get("text_column") or "text"))])
    elif name.startswith("alpaca"):
        instructions(foreign, "instruction", "input", "output")
    elif name.startswith(("chat_template", "sharegpt")):
        usual = "messages" if name.startswith("chat_template") else "conversations"
        conversation(foreign, str(dataset.get("field_messages") or dataset.get("conversation_field") or usual))
        foreign.put("prompt.system", foreign.take("default_system_message"))
        _turns(foreign, dataset)
    else:
        foreign.put("input_features", [text("prompt")])
        foreign.put("output_features", [text("answer")])
        foreign.note(f"datasets[0].type: {name!r} is not known; name the columns of prompt and answer")


def _turns(foreign: Foreign, dataset: dict[str, Any]) -> None:
    """Name what a dataset says of its turns that has no place here."""
    keys = dataset.get("message_property_mappings") or {
        "role": dataset.get("message_field_role", "role"),
        "content": dataset.get("message_field_content", "content"),
    }
    named = isinstance(keys, dict) and (keys.get("role", "role"), keys.get("content", "content"))
    if named not in (("role", "content"), ("from", "value")):
        foreign.note("datasets[0]: turns must have the keys role and content, or from and value; rename theirs")
    learned = dataset.get("roles_to_train") or ["assistant"]
    if any(role not in ("assistant", "gpt") for role in (learned if isinstance(learned, list) else [learned])):
        foreign.note(f"datasets[0].roles_to_train: {learned} has no counterpart; turns of the assistant are learned")
    flag = dataset.get("message_field_training")
    if flag not in (None, "train", "training"):
        foreign.note(f"datasets[0].message_field_training: rename {flag!r} of turns to train: whether it is learned")


def _address(dataset: dict[str, Any]) -> str:
    """Return where rows are, for the command line."""
    path = str(dataset["path"])
    files = dataset.get("data_files")
    if files:
        return str(files if isinstance(files, str) else files[0])
    return path if "." in path.rpartition("/")[2] or path.startswith((".", "/")) else f"hf://{path}"
