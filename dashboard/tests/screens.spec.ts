// Every screen against a real server, in both themes, on a narrow display and without a mouse.
import { expect, expectAccessible, SCREENS, test } from './fixtures.ts';

for (const theme of ['light', 'dark'] as const) {
  test.describe(theme, () => {
    test.use({ colorScheme: theme });
    for (const screen of SCREENS) {
      test(`${screen.name} is complete and accessible`, async ({ page, scene }) => {
        await page.goto(scene.server.base + screen.path(scene));
        await expect(page.getByText(screen.ready).first()).toBeVisible();
        await expect(page.locator('html')).toHaveAttribute('data-theme', theme);
        await expectAccessible(page);
      });
    }
  });
}

test.describe('320 px', () => {
  test.use({ viewport: { width: 320, height: 640 } });
  for (const screen of SCREENS) {
    test(`${screen.name} fits`, async ({ page, scene }) => {
      await page.goto(scene.server.base + screen.path(scene));
      await expect(page.getByText(screen.ready).first()).toBeVisible();
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(320);
    });
  }
});

test('the numbers are those of the API, and the graph has its nodes and edges', async ({ page, scene }) => {
  await page.goto(`${scene.server.base}/jobs/late-flights`);
  const graph = await scene.server.api<{ nodes: { id: string }[]; edges: { partition: string }[] }>('GET', `/v1/jobs/${scene.flights}/graph`);
  await expect(page.locator('[data-node]')).toHaveCount(graph.nodes.length);
  await expect(page.locator('path.edge')).toHaveCount(graph.edges.length);
  for (const { id } of graph.nodes) await expect(page.locator(`[data-node="${id}"]`)).toContainText(id);
  const read = async () => Number((await page.locator('.facts div', { hasText: 'Records read' }).locator('dd').innerText()).replaceAll(',', ''));
  const before = (await scene.server.api<{ records_in: number }>('GET', `/v1/jobs/${scene.flights}`)).records_in;
  await expect.poll(read).toBeGreaterThanOrEqual(before);
  const after = (await scene.server.api<{ records_in: number }>('GET', `/v1/jobs/${scene.flights}`)).records_in;
  expect(await read()).toBeLessThanOrEqual(after + 10_000);
});

test('the bottleneck is named, on the graph and among the jobs', async ({ page, scene }) => {
  await page.goto(`${scene.server.base}/jobs/slow-model`);
  await expect(page.locator('[data-node="score"]')).toContainText('Bottleneck');
  await expect(page.getByText('score slows the job down')).toBeVisible();
  await expect(page.locator('[data-node="requests"]')).toContainText('backpressured');
  await page.goto(scene.server.base);
  await page.getByRole('link', { name: /score is the bottleneck in slow-model/ }).click();
  await expect(page.getByRole('complementary')).toContainText('Subtasks');
  expect(new URL(page.url()).search).toContain('node=score');
});

test('the type of a problem opens the page that explains it', async ({ page, scene }) => {
  const answer = await fetch(`${scene.server.base}/v1/jobs/none`);
  const { type } = (await answer.json()) as { type: string };
  await page.goto(scene.server.base + type);
  await expect(page.getByRole('heading', { name: 'job-not-found' })).toBeInViewport();
});
