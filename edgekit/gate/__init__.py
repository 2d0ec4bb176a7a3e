"""The regression gate: artifacts beside a baseline, with verdicts that can be trusted."""
