// Submit a job: files, a command, or both.
import { createJob } from "../core/actions.js";
import { html, useRef, useState } from "../core/dom.js";
import { bytes, count } from "../core/format.js";
import { go, jobAddress } from "../core/router.js";
import { Problem } from "../core/ui.js";
import { EMPTY, configOf, createFields } from "./config.js";
import { CONFIG_FILE, chosenFiles, describeFiles, droppedFiles, isZip, zipOf } from "./files.js";
import { uploadFile } from "./upload.js";

export function Submit() {
    const [form, setForm] = useState(EMPTY);
    const [source, setSource] = useState(null); // {files, hasConfig, count, size}
    const [progress, setProgress] = useState(null); // {stage, fraction}
    const [error, setError] = useState(null);
    const [existing, setExisting] = useState(null);
    const field = (name) => ({
        value: form[name],
        onInput: (event) => setForm({ ...form, [name]: event.target.value }),
    });

    async function choose(find) {
        setError(null);
        try {
            const files = await find();
            setSource(files.length === 0 ? null : { files, ...(await describeFiles(files)) });
        } catch (found) {
            setSource(null);
            setError(found);
        }
    }
    const zipWithoutConfig = source !== null && isZip(source.files) && !source.hasConfig;
    const needsCommand = !source?.hasConfig && !zipWithoutConfig;

    async function submit(event) {
        event.preventDefault();
        setError(null);
        setExisting(null);
        const onProgress = (stage, fraction) => setProgress({ stage, fraction });
        try {
            onProgress("Packing", null);
            const zipped = source !== null && isZip(source.files);
            const blob = zipped
                ? source.files[0].file
                : await zipOf(source?.files ?? [], needsCommand ? configOf(form) : null);
            const hash = await uploadFile(blob, zipped ? source.files[0].path : "job.zip", onProgress);
            onProgress("Creating the job", null);
            const job = await createJob(hash, createFields(form));
            if (job.secret === undefined) {
                setExisting(job);
            } else {
                go(jobAddress(hash));
            }
        } catch (found) {
            setError(found);
        }
        setProgress(null);
    }

    return html`<h1>New job</h1>
        <form class="submit" onSubmit=${submit}>
            <${DropZone} source=${source} onDrop=${(transfer) => choose(() => droppedFiles(transfer))} onChoose=${(input) => choose(() => chosenFiles(input))} onClear=${() => setSource(null)} />
            ${source?.hasConfig && html`<p class="hint notice">The job runs as its ${CONFIG_FILE} says.</p>`}
            ${
                zipWithoutConfig &&
                html`<p class="problem" role="alert">
                The zip has no ${CONFIG_FILE} at its top level. Add one, or drop the unpacked folder and type a command.
            </p>`
            }
            ${needsCommand && html`<${Command} field=${field} hasFiles=${source !== null} />`}
            <fieldset class="grid">
                <legend>Job</legend>
                <label>Name <input ...${field("name")} maxlength="256" autocomplete="off" /></label>
                <label>Labels that the worker must have <input ...${field("labels")} placeholder="gpu, matlab" autocomplete="off" /></label>
                <label>Tags <input ...${field("tags")} placeholder="sweep-1" autocomplete="off" /></label>
            </fieldset>
            <${Problem} error=${error} />
            ${
                existing &&
                html`<p class="hint notice" role="status">
                The same files were submitted before: <a href=${jobAddress(existing.hash)}>show that job</a>, where you can run it again.
            </p>`
            }
            ${
                progress &&
                html`<p role="status">${progress.stage} …</p>
                <progress value=${progress.fraction ?? undefined} max="1" aria-label="Progress"></progress>`
            }
            <div class="buttons"><button class="primary" disabled=${progress !== null || zipWithoutConfig}>Submit</button></div>
        </form>`;
}

function DropZone({ source, onDrop, onChoose, onClear }) {
    const [over, setOver] = useState(false);
    const folder = useRef(null);
    const files = useRef(null);
    function drop(event) {
        event.preventDefault();
        setOver(false);
        onDrop(event.dataTransfer);
    }
    function drag(event) {
        event.preventDefault();
        setOver(event.type === "dragover");
    }
    function change(event) {
        onChoose(event.target);
        event.target.value = ""; // choosing the same files again is a change too
    }
    return html`<div class=${`drop ${over ? "over" : ""}`} onDrop=${drop} onDragOver=${drag} onDragLeave=${drag}>
        ${
            source === null
                ? html`<p>Drop a folder, files, or a zip here.</p>`
                : html`<p><strong>${count(source.count, "file")}</strong>, ${bytes(source.size)}: <bdi>${shownNames(source.files)}</bdi></p>`
        }
        <div class="buttons">
            <button type="button" onClick=${() => folder.current.click()}>Choose a folder</button>
            <button type="button" onClick=${() => files.current.click()}>Choose files or a zip</button>
            ${source !== null && html`<button type="button" onClick=${onClear}>Remove the files</button>`}
        </div>
        <input ref=${folder} type="file" hidden webkitdirectory aria-label="Folder" onChange=${change} />
        <input ref=${files} type="file" hidden multiple aria-label="Files" onChange=${change} />
        <p class="hint">
            A zip is sent as it is. In a folder, scripts that start with <code>#!</code> and programs become executable, because a
            browser does not see which files are.
        </p>
    </div>`;
}

function shownNames(files) {
    const names = files.slice(0, 5).map(({ path }) => path);
    return names.join(", ") + (files.length > names.length ? ", …" : "");
}

function Command({ field, hasFiles }) {
    return html`<fieldset class="grid">
        <legend>Command</legend>
        <label class="full">
            <span>Run by <code>sh</code> ${hasFiles ? "in the folder of the files" : "in an empty folder"}</span>
            <textarea ...${field("command")} rows="3" required spellcheck=${false} placeholder="python3 simulate.py --steps 1000"></textarea>
        </label>
        <label class="full">
            Files to keep, as patterns; empty keeps all
            <input ...${field("patterns")} placeholder="results/**, *.csv" autocomplete="off" spellcheck=${false} />
        </label>
        <label>Time limit in seconds <input ...${field("timeout")} type="number" min="1" step="any" /></label>
        <label>Processors <input ...${field("cpus")} type="number" min="0.1" step="any" /></label>
        <label>Memory in MiB <input ...${field("memory")} type="number" min="1" step="1" /></label>
        <label>Container image <input ...${field("image")} autocomplete="off" spellcheck=${false} /></label>
    </fieldset>`;
}
