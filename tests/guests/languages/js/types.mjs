// Generates the types of the contract for TypeScript: types/**.d.ts from wit/*.wit.
//
// Does what `jco guest-types` does, which does not read a folder of several files.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { $init, generateTypes } from "@bytecodealliance/jco-transpile/component";

const files = readdirSync("wit").filter((name) => name.endsWith(".wit")).sort();
const texts = files.map((name) => readFileSync(join("wit", name), "utf8"));
const [header] = texts[0].split("\n");
const source = [header, ...texts.map((text) => text.replace(header, ""))].join("\n");

await $init;
const options = {
  wit: { tag: "source", val: source },
  world: "component",
  features: { tag: "list", val: [] },
  guest: true,
  tlaCompat: false,
};
for (const [name, text] of generateTypes("component", options)) {
  const path = join("types", name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
