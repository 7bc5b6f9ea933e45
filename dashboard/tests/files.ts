// Lets a browser use other files of the dashboard than those in the server, so that a change needs no build of the server.
import type { BrowserContext } from '@playwright/test';
import { join } from 'node:path';

/** Answers with the files in the folder `COFFERDAM_DASHBOARD`, if that is set. */
export async function useFilesOf(context: BrowserContext): Promise<void> {
  const folder = process.env.COFFERDAM_DASHBOARD;
  if (!folder) return;
  for (const file of ['app.js', 'app.css']) await context.route(`**/${file}`, (route) => route.fulfill({ path: join(folder, file) }));
}
