// build.js: `npm run build`. Asks the database anew (Framework keeps what its loaders said) and writes the site to dist/.
// It needs no network but the connection to the database, which libpq's variables name (PGHOST, PGUSER, PGDATABASE, …).
import {spawnSync} from "node:child_process";
import {mkdirSync, readFileSync, readdirSync, rmSync} from "node:fs";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";

const top = dirname(fileURLToPath(import.meta.url));
const framework = join(top, "node_modules/@observablehq/framework/dist");
const cache = join(top, "src/.observablehq/cache");
rmSync(join(cache, "data"), {recursive: true, force: true});
rmSync(join(top, "dist"), {recursive: true, force: true});

// Framework's client can load some libraries from a content network, each when a page uses it, and asks a registry for the
// newest version of every one while it builds. No page of ours uses any (Plot and htl come from node_modules), so each gets a
// version at hand.
for (const file of readdirSync(join(framework, "client"), {recursive: true}))
  if (String(file).endsWith(".js"))
    for (const [, name] of readFileSync(join(framework, "client", String(file)), "utf8").matchAll(/"npm:((?:@[^/"]+\/)?[^/@"]+)/g))
      mkdirSync(join(cache, "_npm", `${name}@0.0.0`), {recursive: true});

const {status} = spawnSync(process.execPath, [join(framework, "bin/observable.js"), "build"], {
  cwd: top,
  stdio: "inherit",
  env: {...process.env, OBSERVABLE_TELEMETRY_DISABLE: "true"},
});
process.exit(status ?? 1);
