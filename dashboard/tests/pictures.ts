// Writes the pictures of docs/dashboard: `cargo xtask web --pictures`.
import { test as base } from '@playwright/test';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { useFilesOf } from './files.ts';
import { expect, SCREENS } from './fixtures.ts';
import { openScene, type Scene } from './scene.ts';

const OUT = join(import.meta.dirname, '../../docs/dashboard');
/** Time in which the server collects the series of the charts. */
const SETTLE_MS = 30_000;

const test = base.extend<object, { scene: Scene }>({
  scene: [
    async ({}, use) => {
      const scene = await openScene('pictures', 900);
      await use(scene);
      await scene.server.kill();
    },
    { scope: 'worker', timeout: 180_000 },
  ],
});

/** Screens whose picture shows a part of a long page. */
const HEIGHTS: Record<string, number> = { errors: 760, components: 900, checkpoints: 1000, 'dead-letters': 820, events: 820, pipeline: 820 };

test('pictures of each screen in both themes', async ({ page, scene }) => {
  test.setTimeout(600_000);
  mkdirSync(OUT, { recursive: true });
  await useFilesOf(page.context());
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  for (const screen of SCREENS) {
    await page.setViewportSize({ width: 1280, height: HEIGHTS[screen.name] ?? 900 });
    await page.goto(scene.server.base + screen.path(scene));
    await expect(page.getByText(screen.ready).first()).toBeVisible();
    if (screen.name === 'node-tap') await page.getByRole('button', { name: 'Show records' }).click();
    if (screen.name === 'state') {
      await page.getByLabel('Key', { exact: true }).fill('N14228');
      await page.keyboard.press('Enter');
    }
    await page.waitForTimeout(screen.name === 'jobs' ? 20_000 : 2500);
    await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
    if (screen.name.startsWith('node-') || screen.name === 'job-bottleneck') {
      const height = await page.evaluate(() => document.documentElement.scrollHeight);
      await page.setViewportSize({ width: 1280, height: Math.min(height, 1300) });
    }
    if (screen.name !== 'errors') await page.evaluate(() => scrollTo(0, 0));
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.waitForTimeout(400);
      const path = join(OUT, `${screen.name}-${colorScheme}.png`);
      await page.screenshot({ path });
      // Fewer colours make the files a third as large.
      execFileSync('pngquant', ['--force', '--strip', '--speed', '1', '--output', path, '96', path]);
    }
  }
});
