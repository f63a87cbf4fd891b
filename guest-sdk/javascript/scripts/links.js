// A package cannot have symbolic links, which in the repository lead to what other SDKs have, too.
// `npm pack` and `npm publish` run this before (`copies`) and after (`links`).

import { cpSync, existsSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const LINKS = {
  "LICENSE-APACHE": "../../LICENSE-APACHE",
  "LICENSE-MIT": "../../LICENSE-MIT",
  "wit/deps/websocket": "../../../../wit",
};

const sdk = dirname(dirname(fileURLToPath(import.meta.url)));

for (const [name, to] of Object.entries(LINKS)) {
  const path = join(sdk, name);
  const source = join(dirname(path), to);
  // A copy of the package has files already, and nothing that they could be copied from.
  if (!existsSync(source)) continue;
  rmSync(path, { recursive: true, force: true });
  if (process.argv[2] === "copies") cpSync(source, path, { recursive: true, dereference: true });
  else symlinkSync(to, path);
}
