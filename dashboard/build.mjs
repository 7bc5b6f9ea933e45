// Builds the three files of the dashboard that the host embeds. The same sources give the same bytes.
//
// node build.mjs            writes them to host/src/http/dashboard
// node build.mjs --out DIR  writes them to DIR
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] === '--out' ? process.argv[3] : join(here, '../host/src/http/dashboard');

// The Rust test `the_bundle_is_built_from_the_sources` computes the same hash.
const SOURCES = ['build.mjs', 'package-lock.json', 'package.json', 'src', 'tsconfig.json'];

function files(path) {
  if (!statSync(join(here, path)).isDirectory()) return [path];
  return readdirSync(join(here, path)).flatMap((name) => files(`${path}/${name}`));
}

function sha256(parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

const sources = SOURCES.flatMap(files).sort();
const sourceHash = sha256(sources.flatMap((path) => [`${path}\0`, readFileSync(join(here, path)), '\0']));

const common = { bundle: true, minify: true, write: false, target: 'es2022', legalComments: 'none', charset: 'utf8', absWorkingDir: here };
const script = await build({
  ...common,
  entryPoints: ['src/main.tsx'],
  format: 'esm',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  metafile: true,
});
const style = await build({ ...common, entryPoints: ['src/style/index.css'], external: ['data:*'] });

// The licences of the packages that are in the bundle.
const packages = new Set();
for (const input of Object.keys(script.metafile.inputs)) {
  const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
  if (name) packages.add(name);
}
packages.add('@dagrejs/graphlib'); // It is inside of the file of dagre.
// Packages under the same text share it.
const licences = new Map();
for (const name of [...packages].sort()) {
  const { version } = JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8'));
  const file = readdirSync(join(here, 'node_modules', name)).find((entry) => /^licen[cs]e/i.test(entry));
  const text = readFileSync(join(here, 'node_modules', name, file), 'utf8').replace(/\s+/g, ' ').replaceAll('*/', '* /').trim();
  const at = text.indexOf('Permission is hereby granted');
  const holder = text.slice(0, at).replace(/^.*?(?=Copyright)/, '').trim();
  if (at < 0 || !holder) throw new Error(`the licence of ${name} has another form: show it completely`);
  licences.set(text.slice(at), [...(licences.get(text.slice(at)) ?? []), `${name} ${version}: ${holder}`]);
}
const legal = [...licences].map(([text, names]) => `${names.join('\n')}\n\n${text.replace(/(.{1,110})(?: |$)/g, '$1\n')}`);

const app = `${script.outputFiles[0].text}/*\n${legal.join('\n')}*/\n`;
const css = style.outputFiles[0].text;
const page = readFileSync(join(here, 'src/index.html'), 'utf8')
  .replace('{SOURCES}', sourceHash)
  .replace('{OUTPUT}', sha256([app, css]));

mkdirSync(out, { recursive: true });
writeFileSync(join(out, 'app.js'), app);
writeFileSync(join(out, 'app.css'), css);
writeFileSync(join(out, 'index.html'), page);
