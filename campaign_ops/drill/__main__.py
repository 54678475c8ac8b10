"""``python -m campaign_ops.drill``: the same as ``campaign-ops drill``."""

import sys

if __name__ == "__main__":
    try:
        from campaign_ops.drill.cli import main
    except KeyboardInterrupt:  # it takes a second to load
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    main(prog_name="python -m campaign_ops.drill")
