"""Codes side by side: memory, work, messages, decoding errors and times of each."""
