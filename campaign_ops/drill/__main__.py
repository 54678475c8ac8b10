"""``python -m campaign_ops.drill``: the same as ``campaign-ops drill``."""

from campaign_ops.drill.cli import main

if __name__ == "__main__":
    main(prog_name="python -m campaign_ops.drill")
