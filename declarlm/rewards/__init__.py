"""Rewards: how good a written answer is, as a number."""

from declarlm.rewards.base import Reward, rewards
from declarlm.rewards.function import reward_function

__all__ = ["Reward", "reward_function", "rewards"]
