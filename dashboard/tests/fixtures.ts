// One scene for all tests of a run, and a page that fails its test if the browser reports an error.
import { test as base, expect, type Page } from '@playwright/test';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { useFilesOf } from './files.ts';
import { openScene, type Scene } from './scene.ts';

export { expect };

export const test = base.extend<{ problems: string[] }, { scene: Scene }>({
  scene: [
    async ({}, use) => {
      const scene = await openScene('scene');
      await use(scene);
      await scene.server.kill();
    },
    { scope: 'worker', timeout: 180_000 },
  ],
  problems: [
    async ({ page }, use) => {
      await useFilesOf(page.context());
      const problems: string[] = [];
      page.on('pageerror', (error) => problems.push(error.message));
      page.on('console', (message) => {
        // A test may stop the server, or ask for what does not exist.
        const isExpected = message.text().startsWith('Failed to load resource');
        if (message.type() === 'error' && !isExpected) problems.push(message.text());
      });
      await use(problems);
      expect(problems, 'errors in the browser').toEqual([]);
    },
    { auto: true },
  ],
});

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** Checks the accessibility of a page. axe is run by the browser's debugger, past the content security policy of the page. */
export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(() => scrollTo(0, 0));
  await page.evaluate(readFileSync(AXE, 'utf8'));
  const violations = await page.evaluate(async () => {
    const axe = (window as unknown as { axe: { run: (where: unknown, options: unknown) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> } }).axe;
    const result = await axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
    return result.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`).join(' | ')}`);
  });
  expect(violations).toEqual([]);
}

/** The screens, each with a text that it shows once it has read its data. */
export const SCREENS: { name: string; path: (scene: Scene) => string; ready: string }[] = [
  { name: 'jobs', path: () => '/', ready: 'score is the bottleneck' },
  { name: 'job', path: () => '/jobs/late-flights', ready: 'parse @ late-flights@1' },
  { name: 'job-bottleneck', path: () => '/jobs/slow-model?node=score', ready: 'slows the job down' },
  { name: 'job-failed', path: () => '/jobs/orders-to-lake', ready: 'Call stack of the function' },
  { name: 'node-subtasks', path: () => '/jobs/late-flights?node=track&tab=subtasks', ready: 'Skew' },
  { name: 'node-function', path: () => '/jobs/late-flights?node=track&tab=function', ready: 'last-delays' },
  { name: 'node-tap', path: () => '/jobs/late-flights?node=track&tab=tap', ready: 'Show records' },
  { name: 'checkpoints', path: () => '/jobs/late-flights/checkpoints', ready: 'Phases, 0 to' },
  { name: 'checkpoints-failing', path: () => '/jobs/slow-storage/checkpoints', ready: 'failed' },
  { name: 'dead-letters', path: () => '/jobs/payments/dead-letters', ready: 'a bad record' },
  { name: 'state', path: () => '/jobs/late-flights/state', ready: 'last-delays' },
  { name: 'events', path: () => '/jobs/late-flights/events', ready: 'checkpoint completed' },
  { name: 'logs', path: () => '/jobs/orders-to-lake/logs', ready: 'Logs' },
  { name: 'pipeline', path: () => '/jobs/late-flights/pipeline', ready: 'name = "late-flights"' },
  { name: 'components', path: () => '/components', ready: 'keyed-process' },
  { name: 'server', path: () => '/server', ready: 'Audit log' },
  { name: 'sign-in', path: () => '/sign-in', ready: 'This server asks for a token' },
  { name: 'errors', path: () => '/docs/errors#guest-panic', ready: 'Exit codes' },
];
