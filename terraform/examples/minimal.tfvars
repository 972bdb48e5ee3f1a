# Only the required variable: one function at its own URL and one worker pool that scales from zero, without fixed cost.
project_id = "my-project"
