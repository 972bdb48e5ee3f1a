// The executor_config.json and the fields of `create`, from the form.

export const EMPTY = {
    command: "",
    name: "",
    labels: "",
    tags: "",
    patterns: "",
    image: "",
    timeout: "",
    cpus: "",
    memory: "",
};
const OUTPUT_INTERVAL_MS = 1000;

const listOf = (text) =>
    text
        .split(/[\n,]/)
        .map((part) => part.trim())
        .filter(Boolean);

export function configOf(form) {
    const resources = {
        ...(form.cpus && { cpus: Number(form.cpus) }),
        ...(form.memory && { memoryMiB: Number(form.memory) }),
    };
    return {
        cmd: "sh",
        args: ["-c", form.command],
        resultArtifacts: [{ name: "all", resultPatterns: listOf(form.patterns) }],
        outputInterval: OUTPUT_INTERVAL_MS,
        ...(form.image && { image: form.image.trim() }),
        ...(form.timeout && { timeout: Number(form.timeout) }),
        ...(Object.keys(resources).length > 0 && { resources }),
    };
}

export function createFields(form) {
    const tags = listOf(form.tags);
    return {
        labels: listOf(form.labels),
        ...(form.name.trim() && { name: form.name.trim() }),
        ...(tags.length > 0 && { tags }),
    };
}
