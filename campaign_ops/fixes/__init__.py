"""What a person does: manual fixes, decisions about ambiguous recipients, undo, and their confirmation."""
