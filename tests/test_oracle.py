"""The whole path against forty lines of plain PyTorch and PEFT."""

import math

import pandas as pd
import pytest
import torch

from declarlm import DeclarLM
from declarlm.core.files import read_json_lines

STEPS, BATCH, RATE, SEED = 20, 4, 1e-3, 42


def plain_losses(stories: str, pairs: list[tuple[str, str]], order: list[list[int]]) -> list[float]:
    """Train LoRA with nothing but PyTorch, transformers and PEFT; return the loss of each step."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(stories)
    base = AutoModelForCausalLM.from_pretrained(stories, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        model = get_peft_model(
            base, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    warmup = math.ceil(0.03 * STEPS)
    losses = []
    for step, rows in enumerate(order):
        after = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))
        factor = (step + 1) / (warmup + 1) if step < warmup else after
        for group in optimizer.param_groups:
            group["lr"] = RATE * factor
        total, count = torch.zeros(()), 0
        for row in rows:
            prompt, answer = pairs[row]
            head = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False).input_ids]
            tail = [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
            logits = model(input_ids=torch.tensor([head + tail])).logits[0]
            target = torch.tensor(tail)
            total = total + torch.nn.functional.cross_entropy(logits[len(head) - 1 : -1], target, reduction="sum")
            count += len(tail)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(total.detach()) / count)
    return losses


def test_twenty_lora_steps_equal_a_plain_loop(stories, tmp_path):
    pairs = [(f"Once there was a {name}.\n", f"The {name} ran home.") for name in ("cat", "dog", "girl", "boy")] * 20
    table = pd.DataFrame(pairs, columns=["start", "end"])
    config = {
        "base_model": stories,
        "input_features": [{"name": "start", "type": "text"}],
        "output_features": [{"name": "end", "type": "text"}],
        "adapter": {"type": "lora", "r": 8, "dropout": 0.0},
        "trainer": {
            "train_steps": STEPS,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "should_shuffle": False,
            "optimizer": {"type": "adamw", "weight_decay": 0.0},
        },
        "preprocessing": {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}},
        "seed": SEED,
    }
    result = DeclarLM(config).train(table, output=tmp_path)
    lines = read_json_lines(result.directory / "metrics.jsonl")
    ours = [line["loss"] for line in lines if line["kind"] == "step"]
    order = [[(step * BATCH + place) % len(pairs) for place in range(BATCH)] for step in range(STEPS)]
    assert ours == pytest.approx(plain_losses(stories, pairs, order), abs=1e-5)
