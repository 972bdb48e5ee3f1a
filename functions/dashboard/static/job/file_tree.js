// The folders of an artifact, from the paths of its files.

/** A folder `{name, entries, count}`; a file is `{name, path}`. Folders come first, and names are sorted for people. */
export function fileTree(paths) {
    const root = { name: "", folders: new Map(), files: [] };
    for (const path of paths) {
        const segments = path.split("/");
        let folder = root;
        for (const name of segments.slice(0, -1)) {
            if (!folder.folders.has(name)) {
                folder.folders.set(name, { name, folders: new Map(), files: [] });
            }
            folder = folder.folders.get(name);
        }
        folder.files.push({ name: segments.at(-1), path });
    }
    return sorted(root);
}

const COMPARE = new Intl.Collator(undefined, { numeric: true }).compare;
const byName = (one, other) => COMPARE(one.name, other.name);

function sorted(folder) {
    const folders = [...folder.folders.values()].map(sorted).sort(byName);
    const count = folder.files.length + folders.reduce((sum, inner) => sum + inner.count, 0);
    return { name: folder.name, entries: [...folders, ...folder.files.sort(byName)], count };
}
