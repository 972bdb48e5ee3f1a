# All that is needed: one function at its own URL, one worker pool that starts from zero, no fixed cost.
project_id = "my-project"
