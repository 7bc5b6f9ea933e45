// Shows the part of Markdown that docs/errors.md uses. Everything becomes text nodes and elements of this list, never HTML.
import type { ComponentChildren, JSX } from 'preact';

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

/** Returns where a link of the documentation leads in the dashboard, if it is there. */
export function linkTarget(href: string): string | null {
  if (href.startsWith('#')) return href;
  const here = /^errors\.md(#.*)$/.exec(href);
  return here ? here[1] : null;
}

export function inline(text: string): ComponentChildren[] {
  const parts: ComponentChildren[] = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(at, match.index));
    at = match.index + match[0].length;
    const [, code, bold, label, href] = match;
    if (code !== undefined) parts.push(<code>{code}</code>);
    else if (bold !== undefined) parts.push(<b>{bold}</b>);
    else {
      const target = linkTarget(href);
      parts.push(target ? <a href={target}>{inline(label)}</a> : <>{inline(label)}</>);
    }
  }
  parts.push(text.slice(at));
  return parts;
}

/** The id of a heading, as GitHub makes it. */
export const slug = (title: string) => title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').trim().replaceAll(' ', '-');

const cells = (line: string) => line.replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));

export function Markdown({ text }: { text: string }) {
  const lines = text.split('\n');
  const blocks: JSX.Element[] = [];
  let i = 0;
  const take = (matches: (line: string) => boolean) => {
    const start = i;
    while (i < lines.length && matches(lines[i])) i++;
    return lines.slice(start, i);
  };
  while (i < lines.length) {
    const line = lines[i];
    const key = i;
    const heading = /^(#{1,4}) (.*)$/.exec(line);
    if (line.trim() === '') i++;
    else if (heading) {
      const Tag = `h${heading[1].length}` as 'h1';
      blocks.push(<Tag key={key} id={slug(heading[2])}>{inline(heading[2])}</Tag>);
      i++;
    } else if (line.startsWith('```')) {
      i++;
      const code = take((one) => !one.startsWith('```'));
      i++;
      blocks.push(<pre key={key} tabIndex={0}>{code.join('\n')}</pre>);
    } else if (line.startsWith('|')) {
      const [head, , ...rows] = take((one) => one.startsWith('|'));
      blocks.push(
        <div class="table" key={key} tabIndex={0} role="region" aria-label={`Table: ${cells(head).join(', ')}`}>
          <table>
            <thead><tr>{cells(head).map((cell, at) => <th key={at} scope="col">{inline(cell)}</th>)}</tr></thead>
            <tbody>{rows.map((row, at) => <tr key={at}>{cells(row).map((cell, n) => <td key={n}>{inline(cell)}</td>)}</tr>)}</tbody>
          </table>
        </div>,
      );
    } else if (/^[-*] /.test(line)) {
      const items: string[] = [];
      for (const one of take((next) => next.trim() !== '' && !next.startsWith('#'))) {
        if (/^[-*] /.test(one)) items.push(one.slice(2));
        else items[items.length - 1] += ` ${one.trim()}`;
      }
      blocks.push(<ul key={key}>{items.map((item, at) => <li key={at}>{inline(item)}</li>)}</ul>);
    } else {
      blocks.push(<p key={key}>{inline(take((one) => one.trim() !== '' && !/^(#|\||```|[-*] )/.test(one)).join(' '))}</p>);
    }
  }
  return <article class="doc">{blocks}</article>;
}
