// The dashboard: chooses the screen for the URL.
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { needsToken } from './api/client.ts';
import { startLive } from './live.ts';
import { path } from './router.ts';
import { ComponentsScreen } from './screens/components.tsx';
import { ErrorsScreen } from './screens/errors.tsx';
import { JobScreen } from './screens/job.tsx';
import { JobsScreen } from './screens/jobs.tsx';
import { ServerScreen } from './screens/server.tsx';
import { SignInScreen } from './screens/sign-in.tsx';
import { Empty } from './ui/basics.tsx';
import { Shell } from './ui/shell.tsx';
import './settings.ts';

function screen() {
  const [section, ...rest] = path.value.split('/').filter(Boolean).map(decodeURIComponent);
  if (section === 'docs' && rest[0] === 'errors') return <ErrorsScreen />;
  if (needsToken.value || section === 'sign-in') return <SignInScreen />;
  if (section === undefined || (section === 'jobs' && rest.length === 0)) return <JobsScreen />;
  if (section === 'jobs') return <JobScreen key={rest[0]} reference={rest[0]} screen={rest[1] ?? ''} />;
  if (section === 'components') return <ComponentsScreen />;
  if (section === 'server') return <ServerScreen />;
  return <Empty title="There is no such page">The address may be mistyped. <a href="/">All jobs</a></Empty>;
}

function focusSearch(event: KeyboardEvent): void {
  const isTyping = (event.target as Element).closest('input, select, textarea, dialog');
  const search = document.getElementById('search');
  if (event.key !== '/' || isTyping || !search || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  search.focus();
}

function title(): string {
  const [section, name, sub] = path.value.split('/').filter(Boolean).map(decodeURIComponent);
  return [sub, section === 'jobs' ? name : section, 'Cofferdam'].filter(Boolean).join(' · ');
}

function App() {
  const current = title();
  useEffect(() => {
    document.title = current;
  }, [current]);
  return <Shell>{screen()}</Shell>;
}

addEventListener('keydown', focusSearch);
startLive();
render(<App />, document.getElementById('app')!);
